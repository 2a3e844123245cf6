/* One row with NEON. */
#include <arm_neon.h>

INLINE float32x4_t load4(const void *g, int64_t i, int bf16) {
    if (bf16)
        return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *)g + i), 16));
    return vld1q_f32((const float *)g + i);
}

INLINE int64_t sums_neon(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums,
                          const void *next_g, int bf16) {
    static const uint32_t powers[4] = {1, 2, 4, 8};
    const uint32x4_t power = vld1q_u32(powers);
    float32x4_t below[4], above[4];
    Lanes lanes;
    int64_t i, count = 0;
    int k;
    (void)next_g;
    for (k = 0; k < 4; k++)
        below[k] = above[k] = vdupq_n_f32(0);
    for (i = 0; i + LANES <= n; i += LANES) {
        unsigned word = 0;
        for (k = 0; k < 4; k++) {
            float32x4_t c = vaddq_f32(load4(g, i + 4 * k, bf16), vld1q_f32(e + i + 4 * k));
            uint32x4_t mask = vcgeq_f32(c, vdupq_n_f32(0)), plain = vreinterpretq_u32_f32(c);
            above[k] = vaddq_f32(above[k], vreinterpretq_f32_u32(vandq_u32(plain, mask)));
            below[k] = vaddq_f32(below[k], vreinterpretq_f32_u32(vbicq_u32(plain, mask)));
            word |= vaddvq_u32(vandq_u32(mask, power)) << 4 * k;
        }
        bits[i / 8] = (uint8_t)word;
        bits[i / 8 + 1] = (uint8_t)(word >> 8);
        count += __builtin_popcount(word);
    }
    for (k = 0; k < 4; k++) {
        vst1q_f32(lanes.below + 4 * k, below[k]);
        vst1q_f32(lanes.above + 4 * k, above[k]);
    }
    return count + finish(g, e, i, n, bits, &lanes, sums, bf16);
}

INLINE void residual_neon(const void *g, const float *e, int64_t n, float *next, const float *v, int stream,
                          const void *next_g, int bf16) {
    const float32x4_t zero = vdupq_n_f32(0), v0 = vdupq_n_f32(v[0]), v1 = vdupq_n_f32(v[1]);
    int64_t i;
    (void)stream;
    (void)next_g;
    for (i = 0; i + 4 <= n; i += 4) {
        float32x4_t c = vaddq_f32(load4(g, i, bf16), vld1q_f32(e + i));
        vst1q_f32(next + i, vsubq_f32(c, vbslq_f32(vcgeq_f32(c, zero), v1, v0)));
    }
    residual_from(g, e, i, n, next, v, bf16);
}

static void decode_neon(const uint8_t *bits, int64_t n, float *out, const float *v, int accumulate, int stream) {
    static const uint32_t powers[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const float32x4_t v0 = vdupq_n_f32(v[0]), v1 = vdupq_n_f32(v[1]);
    int64_t i;
    int k;
    (void)stream;
    for (i = 0; i + 8 <= n; i += 8) {
        for (k = 0; k < 2; k++) {
            uint32x4_t mask = vtstq_u32(vdupq_n_u32(bits[i / 8]), vld1q_u32(powers + 4 * k));
            float32x4_t value = vbslq_f32(mask, v1, v0);
            float *place = out + i + 4 * k;
            vst1q_f32(place, accumulate ? vaddq_f32(vld1q_f32(place), value) : value);
        }
    }
    decode_from(bits, i, n, out, v, accumulate);
}

TWO_TYPES(neon, )
