/* The quantiser's inner loops. What they compute, to the bit, is in numpy_kernels.py, their reference.
 *
 * A row is read twice: once for the signs and sums, which brings it into the first cache, and once more, from there,
 * for the residual. So each element crosses the memory bus as in `e.add_(g)`: g and e are read, the next residual is
 * written, past the cache where the bucket is too large to stay there (an ordinary store would read the line first).
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
#define X86 1
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define NEON 1
#include <arm_neon.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

enum { LANES = 16, LOWEST = -125, HIGHEST = 113 };
static const float LARGEST = 32752.0f, SMALL = 0x1p-40f;
/* Elements from which stores bypass the cache: what was written a step ago is in no near cache by now. */
static const int64_t STREAM = 1 << 16;

/* ---- numbers ---- */

INLINE float load(const void *g, int64_t i, int bf16) {
    float value;
    if (bf16) {
        uint32_t word = (uint32_t)((const uint16_t *)g)[i] << 16;
        memcpy(&value, &word, 4);
    } else {
        value = ((const float *)g)[i];
    }
    return value;
}

INLINE double power_of_two(int exponent) {
    uint64_t word = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &word, 8);
    return value;
}

/* To the nearest, ties to even; |value| <= LARGEST. */
static uint16_t half_of(float value) {
    uint32_t word, sign;
    memcpy(&word, &value, 4);
    sign = word >> 16 & 0x8000;
    word &= 0x7fffffff;
    if (word < 0x38800000) { /* below 2^-14: steps of 2^-24, which is the step of float32 at 0.5 */
        float shifted = (value < 0 ? -value : value) + 0.5f;
        memcpy(&word, &shifted, 4);
        return (uint16_t)(sign | (word - 0x3f000000));
    }
    return (uint16_t)(sign | (word + 0xfff + (word >> 13 & 1) - (112u << 23)) >> 13);
}

static double double_of(uint16_t half) {
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double size;
    if (exponent == 31)
        size = mantissa ? Py_NAN : (double)Py_HUGE_VAL;
    else
        size = exponent ? (mantissa + 1024) * power_of_two(exponent - 25) : mantissa * power_of_two(-24);
    return half & 0x8000 ? -size : size;
}

static void encode_values(const double *mean, uint8_t *values, int8_t *exponent) {
    double below = mean[0] < 0 ? -mean[0] : mean[0], largest = below > mean[1] ? below : mean[1];
    uint64_t word;
    int e = 0, k;
    memcpy(&word, &largest, 8);
    if (largest > 0) {
        e = (int)(word >> 52) - 1023 - 14;
        e = e < LOWEST ? LOWEST : e > HIGHEST ? HIGHEST : e;
    }
    *exponent = (int8_t)e;
    for (k = 0; k < 2; k++) {
        float scaled = (float)(mean[k] * power_of_two(-e));
        uint16_t half = half_of(scaled > LARGEST ? LARGEST : scaled < -LARGEST ? -LARGEST : scaled);
        memcpy(values + 2 * k, &half, 2);
    }
}

static void decode_values(const uint8_t *values, int8_t exponent, double scale, float *decoded) {
    int k;
    for (k = 0; k < 2; k++) {
        uint16_t half;
        memcpy(&half, values + 2 * k, 2);
        decoded[k] = (float)(double_of(half) * power_of_two(exponent) * scale);
    }
}

/* ---- what every kernel shares: the end of a row, and rows whose sums overflow ---- */

typedef struct {
    float below[LANES], above[LANES];
} Lanes;

static float pairwise(float *lane) {
    int half, k;
    for (half = LANES / 2; half > 0; half /= 2)
        for (k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

/* The last n - i < 16 elements of a row, then the sums; returns how many of these elements are not below zero. */
INLINE int64_t finish(const void *g, const float *e, int64_t i, int64_t n, uint8_t *bits, Lanes *lanes, float *sums,
                      int bf16) {
    unsigned word = 0;
    int64_t k, count = 0;
    for (k = 0; i + k < n; k++) {
        float c = load(g, i + k, bf16) + e[i + k];
        if (c >= 0) {
            word |= 1u << k;
            lanes->above[k] += c;
            count++;
        } else {
            lanes->below[k] += c;
        }
    }
    for (k = 0; i + 8 * k < n; k++)
        bits[i / 8 + k] = (uint8_t)(word >> 8 * k);
    sums[0] = pairwise(lanes->below);
    sums[1] = pairwise(lanes->above);
    return count;
}

static void scaled_sums(const void *g, const float *e, int64_t n, int bf16, float *sums) {
    Lanes lanes = {{0}, {0}};
    int64_t i;
    for (i = 0; i < n; i++) {
        float c = load(g, i, bf16) + e[i];
        *(c >= 0 ? lanes.above + i % LANES : lanes.below + i % LANES) += c * SMALL;
    }
    sums[0] = pairwise(lanes.below);
    sums[1] = pairwise(lanes.above);
}

INLINE void residual_from(const void *g, const float *e, int64_t i, int64_t n, float *next, const float *v, int bf16) {
    const float v0 = v[0], v1 = v[1];
    for (; i < n; i++) {
        float c = load(g, i, bf16) + e[i];
        next[i] = c - (c >= 0 ? v1 : v0);
    }
}

INLINE void decode_from(const uint8_t *bits, int64_t i, int64_t n, float *out, const float *v, int accumulate) {
    const float pair[2] = {v[0], v[1]}; /* no branch: signs cannot be foreseen */
    for (; i < n; i++) {
        float value = pair[bits[i / 8] >> i % 8 & 1];
        out[i] = accumulate ? out[i] + value : value;
    }
}

/* A kernel is three functions for one row. `sums`: bits and the sums below and above zero, returns the count above.
 * `residual`: c - decoded. `decode`. `stream`: past the cache. Each of the first two for float32 and for bfloat16. */
typedef int64_t Sums(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums);
typedef void Residual(const void *g, const float *e, int64_t n, float *next, const float *v, int stream);
typedef void Decode(const uint8_t *bits, int64_t n, float *out, const float *v, int accumulate, int stream);
typedef struct {
    const char *name;
    Sums *sums[2];
    Residual *residual[2];
    Decode *decode;
} Kernel;

#define TWO_TYPES(name, ATTRIBUTE)                                                                                     \
    ATTRIBUTE static int64_t sums_##name##_f32(const void *g, const float *e, int64_t n, uint8_t *bits, float *s) {    \
        return sums_##name(g, e, n, bits, s, 0);                                                                       \
    }                                                                                                                  \
    ATTRIBUTE static int64_t sums_##name##_bf16(const void *g, const float *e, int64_t n, uint8_t *bits, float *s) {   \
        return sums_##name(g, e, n, bits, s, 1);                                                                       \
    }                                                                                                                  \
    ATTRIBUTE static void residual_##name##_f32(const void *g, const float *e, int64_t n, float *next, const float *v, \
                                                int stream) {                                                          \
        residual_##name(g, e, n, next, v, stream, 0);                                                                  \
    }                                                                                                                  \
    ATTRIBUTE static void residual_##name##_bf16(const void *g, const float *e, int64_t n, float *next,                \
                                                 const float *v, int stream) {                                         \
        residual_##name(g, e, n, next, v, stream, 1);                                                                  \
    }
#define KERNEL(label, name)                                                                                            \
    {label, {sums_##name##_f32, sums_##name##_bf16}, {residual_##name##_f32, residual_##name##_bf16}, decode_##name}

/* ---- portable ---- */

INLINE int64_t sums_portable(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums, int bf16) {
    Lanes lanes = {{0}, {0}};
    float below[LANES] = {0}, above[LANES] = {0};
    uint32_t counts[LANES] = {0};
    int64_t i, count = 0;
    int k;
    for (i = 0; i + LANES <= n; i += LANES) {
        uint32_t is_above[LANES];
        unsigned word = 0;
        for (k = 0; k < LANES; k++) { /* no branch, so that a compiler can use whatever vectors there are */
            float c = load(g, i + k, bf16) + e[i + k];
            uint32_t plain, mask = c >= 0 ? 0xffffffffu : 0, high, low;
            float part;
            memcpy(&plain, &c, 4);
            high = plain & mask;
            low = plain & ~mask;
            memcpy(&part, &high, 4);
            above[k] += part;
            memcpy(&part, &low, 4);
            below[k] += part;
            counts[k] += mask & 1;
            is_above[k] = mask & (uint32_t)1 << k;
        }
        for (k = 0; k < LANES; k++)
            word |= is_above[k];
        bits[i / 8] = (uint8_t)word;
        bits[i / 8 + 1] = (uint8_t)(word >> 8);
    }
    for (k = 0; k < LANES; k++)
        count += (int64_t)counts[k];
    memcpy(lanes.below, below, sizeof below);
    memcpy(lanes.above, above, sizeof above);
    return count + finish(g, e, i, n, bits, &lanes, sums, bf16);
}

INLINE void residual_portable(const void *g, const float *e, int64_t n, float *next, const float *v, int stream,
                              int bf16) {
    (void)stream;
    residual_from(g, e, 0, n, next, v, bf16);
}

static void decode_portable(const uint8_t *bits, int64_t n, float *out, const float *v, int accumulate, int stream) {
    (void)stream;
    if (accumulate)
        decode_from(bits, 0, n, out, v, 1);
    else
        decode_from(bits, 0, n, out, v, 0);
}

TWO_TYPES(portable, )

#ifdef X86
/* The row behind this one, as a rule the next to be quantised: its first half is fetched while this row's sums are
 * taken, its second half while its residual is written, so that the memory bus never waits for arithmetic. */
INLINE void fetch(const void *g, const float *e, int64_t i, int bf16) {
    _mm_prefetch((const char *)g + i * (bf16 ? 2 : 4), _MM_HINT_T0);
    _mm_prefetch((const char *)(e + i), _MM_HINT_T0);
}

/* ---- AVX2 ---- */
#define AVX2 __attribute__((target("avx2,popcnt")))

INLINE AVX2 __m256 load8(const void *g, int64_t i, int bf16) {
    if (bf16) {
        __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)g + i));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    return _mm256_loadu_ps((const float *)g + i);
}

INLINE AVX2 int64_t sums_avx2(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums, int bf16) {
    const __m256 zero = _mm256_setzero_ps();
    __m256 below[2] = {zero, zero}, above[2] = {zero, zero};
    Lanes lanes;
    int64_t i, count = 0;
    int k;
    for (i = 0; i + LANES <= n; i += LANES) {
        unsigned word = 0;
        if (i % 32 == 0)
            fetch(g, e, n + i / 2, bf16);
        for (k = 0; k < 2; k++) {
            __m256 c = _mm256_add_ps(load8(g, i + 8 * k, bf16), _mm256_loadu_ps(e + i + 8 * k));
            __m256 mask = _mm256_cmp_ps(c, zero, _CMP_GE_OQ);
            above[k] = _mm256_add_ps(above[k], _mm256_and_ps(mask, c));
            below[k] = _mm256_add_ps(below[k], _mm256_andnot_ps(mask, c));
            word |= (unsigned)_mm256_movemask_ps(mask) << 8 * k;
        }
        memcpy(bits + i / 8, &word, 2);
        count += __builtin_popcount(word);
    }
    for (k = 0; k < 2; k++) {
        _mm256_storeu_ps(lanes.below + 8 * k, below[k]);
        _mm256_storeu_ps(lanes.above + 8 * k, above[k]);
    }
    return count + finish(g, e, i, n, bits, &lanes, sums, bf16);
}

INLINE AVX2 void residual_avx2(const void *g, const float *e, int64_t n, float *next, const float *v, int stream,
                               int bf16) {
    const __m256 zero = _mm256_setzero_ps(), v0 = _mm256_set1_ps(v[0]), v1 = _mm256_set1_ps(v[1]);
    int64_t i, first = 0; /* that an aligned store can write */
    stream = stream && (uintptr_t)next % 4 == 0;
    if (stream) {
        first = (int64_t)(-(uintptr_t)next & 31) / 4;
        first = first < n ? first : n;
        residual_from(g, e, 0, first, next, v, bf16);
    }
    for (i = first; i + 8 <= n; i += 8) {
        __m256 c, d;
        if ((i - first) % 32 == 0)
            fetch(g, e, n + n / 2 + i / 2, bf16);
        c = _mm256_add_ps(load8(g, i, bf16), _mm256_loadu_ps(e + i));
        d = _mm256_sub_ps(c, _mm256_blendv_ps(v0, v1, _mm256_cmp_ps(c, zero, _CMP_GE_OQ)));
        if (stream)
            _mm256_stream_ps(next + i, d);
        else
            _mm256_storeu_ps(next + i, d);
    }
    residual_from(g, e, i, n, next, v, bf16);
}

AVX2 static void decode_avx2(const uint8_t *bits, int64_t n, float *out, const float *v, int accumulate, int stream) {
    const __m256 v0 = _mm256_set1_ps(v[0]), v1 = _mm256_set1_ps(v[1]);
    const __m256i shift = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    int64_t i;
    stream = stream && (uintptr_t)out % 32 == 0;
    for (i = 0; i + 8 <= n; i += 8) {
        __m256i sign = _mm256_sllv_epi32(_mm256_set1_epi32(bits[i / 8]), shift);
        __m256 value = _mm256_blendv_ps(v0, v1, _mm256_castsi256_ps(sign));
        if (accumulate)
            value = _mm256_add_ps(_mm256_loadu_ps(out + i), value);
        if (stream)
            _mm256_stream_ps(out + i, value);
        else
            _mm256_storeu_ps(out + i, value);
    }
    decode_from(bits, i, n, out, v, accumulate);
}

TWO_TYPES(avx2, AVX2)

/* ---- AVX-512 ---- */
#define AVX512 __attribute__((target("avx512f,popcnt")))

INLINE AVX512 __m512 load16(const void *g, int64_t i, int bf16) {
    if (bf16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)((const uint16_t *)g + i));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    return _mm512_loadu_ps((const float *)g + i);
}

#define STEP512(k)                                                                                                     \
    do {                                                                                                               \
        __m512 c = _mm512_add_ps(load16(g, i + 16 * (k), bf16), _mm512_loadu_ps(e + i + 16 * (k)));                    \
        __mmask16 mask = _mm512_cmp_ps_mask(c, zero, _CMP_GE_OQ);                                                      \
        above = _mm512_mask_add_ps(above, mask, above, c);                                                             \
        below = _mm512_mask_add_ps(below, _mm512_knot(mask), below, c);                                                \
        word |= (uint64_t)mask << 16 * (k);                                                                            \
    } while (0)

INLINE AVX512 int64_t sums_avx512(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums, int bf16) {
    const __m512 zero = _mm512_setzero_ps();
    __m512 below = zero, above = zero;
    Lanes lanes;
    int64_t i, count = 0;
    for (i = 0; i + 64 <= n; i += 64) {
        uint64_t word = 0;
        fetch(g, e, n + i / 2, bf16);
        fetch(g, e, n + i / 2 + 16, bf16);
        STEP512(0);
        STEP512(1);
        STEP512(2);
        STEP512(3);
        memcpy(bits + i / 8, &word, 8);
        count += __builtin_popcountll(word);
    }
    for (; i + 16 <= n; i += 16) {
        uint64_t word = 0;
        STEP512(0);
        memcpy(bits + i / 8, &word, 2);
        count += __builtin_popcountll(word);
    }
    _mm512_storeu_ps(lanes.below, below);
    _mm512_storeu_ps(lanes.above, above);
    return count + finish(g, e, i, n, bits, &lanes, sums, bf16);
}

INLINE AVX512 void residual_avx512(const void *g, const float *e, int64_t n, float *next, const float *v, int stream,
                                   int bf16) {
    const __m512 zero = _mm512_setzero_ps(), v0 = _mm512_set1_ps(v[0]), v1 = _mm512_set1_ps(v[1]);
    int64_t i, first = 0; /* that an aligned store can write */
    stream = stream && (uintptr_t)next % 4 == 0;
    if (stream) {
        first = (int64_t)(-(uintptr_t)next & 63) / 4;
        first = first < n ? first : n;
        residual_from(g, e, 0, first, next, v, bf16);
    }
    for (i = first; i + 16 <= n; i += 16) {
        __m512 c, d;
        if ((i - first) % 32 == 0)
            fetch(g, e, n + n / 2 + i / 2, bf16);
        c = _mm512_add_ps(load16(g, i, bf16), _mm512_loadu_ps(e + i));
        d = _mm512_sub_ps(c, _mm512_mask_blend_ps(_mm512_cmp_ps_mask(c, zero, _CMP_GE_OQ), v0, v1));
        if (stream)
            _mm512_stream_ps(next + i, d);
        else
            _mm512_storeu_ps(next + i, d);
    }
    residual_from(g, e, i, n, next, v, bf16);
}

AVX512 static void decode_avx512(const uint8_t *bits, int64_t n, float *out, const float *v, int accumulate,
                                 int stream) {
    const __m512 v0 = _mm512_set1_ps(v[0]), v1 = _mm512_set1_ps(v[1]);
    int64_t i;
    stream = stream && (uintptr_t)out % 64 == 0;
    for (i = 0; i + 16 <= n; i += 16) {
        uint16_t word;
        __m512 value;
        memcpy(&word, bits + i / 8, 2);
        value = _mm512_mask_blend_ps(word, v0, v1);
        if (accumulate)
            value = _mm512_add_ps(_mm512_loadu_ps(out + i), value);
        if (stream)
            _mm512_stream_ps(out + i, value);
        else
            _mm512_storeu_ps(out + i, value);
    }
    decode_from(bits, i, n, out, v, accumulate);
}

TWO_TYPES(avx512, AVX512)
#endif

#ifdef NEON
/* ---- NEON ---- */

INLINE float32x4_t load4(const void *g, int64_t i, int bf16) {
    if (bf16)
        return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *)g + i), 16));
    return vld1q_f32((const float *)g + i);
}

INLINE int64_t sums_neon(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums, int bf16) {
    static const uint32_t powers[4] = {1, 2, 4, 8};
    const uint32x4_t power = vld1q_u32(powers);
    float32x4_t below[4], above[4];
    Lanes lanes;
    int64_t i, count = 0;
    int k;
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

INLINE void residual_neon(const void *g, const float *e, int64_t n, float *next, const float *v, int stream, int bf16) {
    const float32x4_t zero = vdupq_n_f32(0), v0 = vdupq_n_f32(v[0]), v1 = vdupq_n_f32(v[1]);
    int64_t i;
    (void)stream;
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
#endif

/* ---- rows ---- */

static const Kernel KERNELS[] = {
#ifdef X86
    KERNEL("avx512", avx512),
    KERNEL("avx2", avx2),
#endif
#ifdef NEON
    KERNEL("neon", neon),
#endif
    KERNEL("portable", portable),
};
enum { KERNEL_COUNT = sizeof(KERNELS) / sizeof(KERNELS[0]) };

static int runs_here(const Kernel *kernel) {
#ifdef X86
    __builtin_cpu_init();
    if (strcmp(kernel->name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("popcnt");
    if (strcmp(kernel->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#endif
    (void)kernel;
    return 1;
}

static const Kernel *find(const char *name) {
    int k;
    for (k = 0; k < KERNEL_COUNT; k++)
        if (strcmp(KERNELS[k].name, name) == 0 && runs_here(&KERNELS[k]))
            return &KERNELS[k];
    PyErr_Format(PyExc_ValueError, "no kernel %s here", name);
    return NULL;
}

static void fence(int stream) {
#ifdef X86
    if (stream)
        _mm_sfence();
#endif
    (void)stream;
}

typedef struct {
    const int64_t *start, *length, *byte;
    int64_t count;
} Rows;
typedef struct {
    uint8_t *bits, *values;
    int8_t *exponents;
} Message;

INLINE int is_finite(float x) { return x - x == 0; }

static int quantise_rows(const Kernel *kernel, const void *gradient, int bf16, const float *residual, float *next,
                         Rows rows, Message message, int stream) {
    int64_t r;
    for (r = 0; r < rows.count; r++) {
        const int64_t start = rows.start[r], n = rows.length[r];
        const void *g = (const char *)gradient + start * (bf16 ? 2 : 4);
        const float *e = residual + start;
        float sums[2], scaled[2] = {0, 0}, v[2];
        double mean[2];
        int64_t count[2];
        int k;
        count[1] = kernel->sums[bf16](g, e, n, message.bits + rows.byte[r], sums);
        count[0] = n - count[1];
        if (!is_finite(sums[0]) || !is_finite(sums[1]))
            scaled_sums(g, e, n, bf16, scaled);
        for (k = 0; k < 2; k++) {
            double sum = sums[k];
            if (!is_finite(sums[k])) {
                if (!is_finite(scaled[k]))
                    return 0;
                sum = (double)scaled[k] * 0x1p40;
            }
            mean[k] = count[k] > 0 ? sum / (double)count[k] : 0.0;
        }
        encode_values(mean, message.values + 4 * r, message.exponents + r);
        decode_values(message.values + 4 * r, message.exponents[r], 1.0, v);
        kernel->residual[bf16](g, e, n, next + start, v, stream);
    }
    fence(stream);
    return 1;
}

static void decode_rows(const Kernel *kernel, Message message, Rows rows, float *out, double scale, int accumulate,
                        int stream) {
    int64_t r;
    for (r = 0; r < rows.count; r++) {
        float v[2];
        decode_values(message.values + 4 * r, message.exponents[r], scale, v);
        kernel->decode(message.bits + rows.byte[r], rows.length[r], out + rows.start[r], v, accumulate, stream);
    }
    fence(stream);
}

/* ---- Python: addresses come as integers, checked by quantise.py ---- */

typedef unsigned long long Address;
#define AT(type, address) ((type)(uintptr_t)(address))

static PyObject *quantise(PyObject *module, PyObject *args) {
    const char *name;
    Address g, e, next, start, length, byte, bits, values, exponents;
    long long count, elements;
    int bf16, finite;
    const Kernel *kernel;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKpKKKKKLKKKL", &name, &g, &bf16, &e, &next, &start, &length, &byte, &count, &bits,
                          &values, &exponents, &elements))
        return NULL;
    kernel = find(name);
    if (kernel == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    {
        Rows rows = {AT(const int64_t *, start), AT(const int64_t *, length), AT(const int64_t *, byte), count};
        Message message = {AT(uint8_t *, bits), AT(uint8_t *, values), AT(int8_t *, exponents)};
        finite = quantise_rows(kernel, AT(const void *, g), bf16, AT(const float *, e), AT(float *, next), rows,
                               message, elements >= STREAM);
    }
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(finite);
}

static PyObject *decode(PyObject *module, PyObject *args) {
    const char *name;
    Address out, start, length, byte, bits, values, exponents;
    long long count, elements;
    double scale;
    int accumulate;
    const Kernel *kernel;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKKKKKKLKdpL", &name, &bits, &values, &exponents, &start, &length, &byte, &count, &out,
                          &scale, &accumulate, &elements))
        return NULL;
    kernel = find(name);
    if (kernel == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    {
        Rows rows = {AT(const int64_t *, start), AT(const int64_t *, length), AT(const int64_t *, byte), count};
        Message message = {AT(uint8_t *, bits), AT(uint8_t *, values), AT(int8_t *, exponents)};
        decode_rows(kernel, message, rows, AT(float *, out), scale, accumulate, !accumulate && elements >= STREAM);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *available(PyObject *module, PyObject *args) {
    PyObject *names = PyList_New(0);
    int k;
    (void)module;
    (void)args;
    for (k = 0; names != NULL && k < KERNEL_COUNT; k++) {
        PyObject *name;
        if (!runs_here(&KERNELS[k]))
            continue;
        name = PyUnicode_FromString(KERNELS[k].name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyMethodDef METHODS[] = {
    {"available", available, METH_NOARGS, "Names of the kernels that this CPU can run, fastest first."},
    {"quantise", quantise, METH_VARARGS, "Quantises rows; returns whether all of them are finite."},
    {"decode", decode, METH_VARARGS, "Decodes rows."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot SLOTS[] = {{0, NULL}};
static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernels", "Inner loops of the quantiser.", 0, METHODS, SLOTS, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&MODULE); }
