/* One row with NEON. */
#include <arm_neon.h>

static const uint32_t POWERS32[8] = {1, 2, 4, 8, 16, 32, 64, 128};
static const uint8_t POWERS8[8] = {1, 2, 4, 8, 16, 32, 64, 128};

INLINE float32x4_t load4(const void *g, int64_t i, int bf16) {
    if (bf16)
        return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *)g + i), 16));
    return vld1q_f32((const float *)g + i);
}

INLINE float32x4_t sizes4(const uint8_t *steps) {
    const float size[4] = {size_of(steps[0]), size_of(steps[1]), size_of(steps[2]), size_of(steps[3])};
    return vld1q_f32(size);
}

/* `value` with the sign bit where `above` has none. */
INLINE float32x4_t signed4(uint32x4_t above, float32x4_t value) {
    uint32x4_t sign = vbicq_u32(vdupq_n_u32(0x80000000u), above);
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(value), sign));
}

INLINE void learn8(uint8_t *steps, uint8_t octet) {
    const uint8x8_t one = vdup_n_u8(1), top = vdup_n_u8(128);
    uint8x8_t sign = vand_u8(vtst_u8(vdup_n_u8(octet), vld1_u8(POWERS8)), top);
    uint8x8_t step = vld1_u8(steps), level = vbic_u8(step, top);
    uint8x8_t up = vmin_u8(vadd_u8(level, one), vdup_n_u8(127));
    level = vbsl_u8(vceq_u8(vand_u8(step, top), sign), up, vqsub_u8(level, one));
    vst1_u8(steps, vorr_u8(level, sign));
}

static void learn_neon(const uint8_t *bits, uint8_t *steps, int64_t n) {
    int64_t i;
    for (i = 0; i + 8 <= n; i += 8)
        learn8(steps + i, bits[i / 8]);
    learn_from(bits, i, n, steps);
}

INLINE int code_neon(const void *g, const float *e, const uint8_t *steps, int64_t n, float v, uint8_t *bits,
                     float *next, float *sums, int stream, int bf16) {
    const uint32x4_t power = vld1q_u32(POWERS32), infinite = vdupq_n_u32(0x7f800000u);
    float32x4_t products[4], squares[4];
    uint32x4_t bad = vdupq_n_u32(0);
    Lanes lanes;
    int64_t i;
    int k;
    (void)stream;
    for (k = 0; k < 4; k++)
        products[k] = squares[k] = vdupq_n_f32(0);
    for (i = 0; i + LANES <= n; i += LANES) {
        unsigned word = 0;
        for (k = 0; k < 4; k++) {
            float32x4_t c = vaddq_f32(load4(g, i + 4 * k, bf16), vld1q_f32(e + i + 4 * k)), length = vabsq_f32(c);
            float32x4_t size = sizes4(steps + i + 4 * k);
            uint32x4_t above = vcgeq_f32(c, vdupq_n_f32(0));
            bad = vorrq_u32(bad, vcgeq_u32(vreinterpretq_u32_f32(length), infinite));
            if (is_sampled(i)) {
                products[k] = vaddq_f32(products[k], vmulq_f32(length, size));
                squares[k] = vaddq_f32(squares[k], vmulq_f32(size, size));
            }
            word |= vaddvq_u32(vandq_u32(above, power)) << 4 * k;
            vst1q_f32(next + i + 4 * k, vsubq_f32(c, signed4(above, vmulq_n_f32(size, v))));
        }
        bits[i / 8] = (uint8_t)word;
        bits[i / 8 + 1] = (uint8_t)(word >> 8);
    }
    for (k = 0; k < 4; k++) {
        vst1q_f32(lanes.products + 4 * k, products[k]);
        vst1q_f32(lanes.squares + 4 * k, squares[k]);
    }
    return finish(g, e, steps, i, n, v, bits, next, &lanes, sums, bf16) & (vmaxvq_u32(bad) == 0);
}

static void decode_neon(const uint8_t *bits, uint8_t *steps, int64_t n, float *out, float v, int accumulate, int learn,
                        int stream) {
    int64_t i;
    int k;
    (void)stream;
    for (i = 0; i + 8 <= n; i += 8) {
        for (k = 0; k < 2; k++) {
            uint32x4_t above = vtstq_u32(vdupq_n_u32(bits[i / 8]), vld1q_u32(POWERS32 + 4 * k));
            float32x4_t value = signed4(above, vmulq_n_f32(sizes4(steps + i + 4 * k), v));
            float *place = out + i + 4 * k;
            vst1q_f32(place, accumulate ? vaddq_f32(vld1q_f32(place), value) : value);
        }
        if (learn)
            learn8(steps + i, bits[i / 8]);
    }
    decode_from(bits, steps, i, n, out, v, accumulate, learn);
}

TWO_TYPES(neon, )
