/* One row with AVX2 and with AVX-512. */
#include <immintrin.h>

/* The row behind this one, as a rule the next to be quantised: its first half is fetched while this row's sums are
 * taken, its second half while its residual is written, so that the memory bus never waits for arithmetic. */
INLINE void fetch(const void *next_g, const float *next_e, int64_t i, int bf16) {
    _mm_prefetch((const char *)next_g + i * (bf16 ? 2 : 4), _MM_HINT_T0);
    _mm_prefetch((const char *)(next_e + i), _MM_HINT_T0);
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

INLINE AVX2 int64_t sums_avx2(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums,
                               const void *next_g, int bf16) {
    const __m256 zero = _mm256_setzero_ps();
    __m256 below[2] = {zero, zero}, above[2] = {zero, zero};
    Lanes lanes;
    int64_t i, count = 0;
    int k;
    for (i = 0; i + LANES <= n; i += LANES) {
        unsigned word = 0;
        if (i % 32 == 0)
            fetch(next_g, e + n, i / 2, bf16);
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
                               const void *next_g, int bf16) {
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
            fetch(next_g, e + n, n / 2 + i / 2, bf16);
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

INLINE AVX512 int64_t sums_avx512(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums,
                               const void *next_g, int bf16) {
    const __m512 zero = _mm512_setzero_ps();
    __m512 below = zero, above = zero;
    Lanes lanes;
    int64_t i, count = 0;
    for (i = 0; i + 64 <= n; i += 64) {
        uint64_t word = 0;
        fetch(next_g, e + n, i / 2, bf16);
        fetch(next_g, e + n, i / 2 + 16, bf16);
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
                                   const void *next_g, int bf16) {
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
            fetch(next_g, e + n, n / 2 + i / 2, bf16);
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
