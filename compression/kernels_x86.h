/* One row with AVX2 and with AVX-512. */
enum { AHEAD = 1024 }; /* elements that are fetched early, so that the memory bus never waits for arithmetic */

/* ---- AVX2 ---- */
#define AVX2 __attribute__((target("avx2")))

INLINE AVX2 __m256 load8(const void *g, int64_t i, int bf16) {
    if (bf16) {
        __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)g + i));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    return _mm256_loadu_ps((const float *)g + i);
}

INLINE AVX2 __m256 sizes8(const uint8_t *steps) {
    const __m256 eighths = _mm256_mul_ps(_mm256_setr_ps(EIGHTHS), _mm256_set1_ps(0x1p-8f));
    __m256i step = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)steps));
    __m256 size = _mm256_permutevar8x32_ps(eighths, step); /* its lowest three bits count */
    __m256i octave = _mm256_slli_epi32(_mm256_and_si256(step, _mm256_set1_epi32(0x78)), 20);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(size), octave));
}

INLINE AVX2 void learn16(uint8_t *steps, unsigned word) {
    const __m128i one = _mm_set1_epi8(1), top = _mm_set1_epi8(-128);
    const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i powers = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
    __m128i octets = _mm_shuffle_epi8(_mm_cvtsi32_si128((int)word), spread);
    __m128i sign = _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(octets, powers), powers), top);
    __m128i step = _mm_loadu_si128((const __m128i *)steps), level = _mm_andnot_si128(top, step);
    __m128i up = _mm_min_epu8(_mm_add_epi8(level, one), _mm_set1_epi8(127));
    /* The highest bit chooses: whether the signs differ. */
    level = _mm_blendv_epi8(up, _mm_subs_epu8(level, one), _mm_xor_si128(step, sign));
    _mm_storeu_si128((__m128i *)steps, _mm_or_si128(level, sign));
}

AVX2 static void learn_avx2(const uint8_t *bits, uint8_t *steps, int64_t n) {
    int64_t i;
    for (i = 0; i + 16 <= n; i += 16) {
        uint16_t word;
        memcpy(&word, bits + i / 8, 2);
        learn16(steps + i, word);
    }
    learn_from(bits, i, n, steps);
}

INLINE AVX2 int code_avx2(const void *g, const float *e, const uint8_t *steps, int64_t n, float v, uint8_t *bits,
                          float *next, float *sums, int stream, int bf16) {
    const __m256 zero = _mm256_setzero_ps(), sign = _mm256_set1_ps(-0.0f), v8 = _mm256_set1_ps(v);
    const __m256 most = _mm256_set1_ps(0x1.fffffep127f);
    __m256 products[2] = {zero, zero}, squares[2] = {zero, zero}, bad = zero;
    Lanes lanes;
    int64_t i;
    int k;
    stream = stream && (uintptr_t)next % 32 == 0;
    for (i = 0; i + LANES <= n; i += LANES) {
        unsigned word = 0;
        _mm_prefetch((const char *)g + (i + AHEAD) * (bf16 ? 2 : 4), _MM_HINT_T0);
        _mm_prefetch((const char *)(e + i + AHEAD), _MM_HINT_T0);
        for (k = 0; k < 2; k++) {
            __m256 c = _mm256_add_ps(load8(g, i + 8 * k, bf16), _mm256_loadu_ps(e + i + 8 * k));
            __m256 above = _mm256_cmp_ps(c, zero, _CMP_GE_OQ), size = sizes8(steps + i + 8 * k);
            __m256 d = _mm256_mul_ps(v8, size), length = _mm256_andnot_ps(sign, c), rest;
            bad = _mm256_or_ps(bad, _mm256_cmp_ps(length, most, _CMP_NLE_UQ));
            if (is_sampled(i)) {
                products[k] = _mm256_add_ps(products[k], _mm256_mul_ps(length, size));
                squares[k] = _mm256_add_ps(squares[k], _mm256_mul_ps(size, size));
            }
            word |= (unsigned)_mm256_movemask_ps(above) << 8 * k;
            rest = _mm256_sub_ps(c, _mm256_xor_ps(d, _mm256_andnot_ps(above, sign)));
            if (stream)
                _mm256_stream_ps(next + i + 8 * k, rest);
            else
                _mm256_storeu_ps(next + i + 8 * k, rest);
        }
        memcpy(bits + i / 8, &word, 2);
    }
    for (k = 0; k < 2; k++) {
        _mm256_storeu_ps(lanes.products + 8 * k, products[k]);
        _mm256_storeu_ps(lanes.squares + 8 * k, squares[k]);
    }
    return finish(g, e, steps, i, n, v, bits, next, &lanes, sums, bf16) & (_mm256_movemask_ps(bad) == 0);
}

AVX2 static void decode_avx2(const uint8_t *bits, uint8_t *steps, int64_t n, float *out, float v, int accumulate,
                             int learn, int stream) {
    const __m256 v8 = _mm256_set1_ps(v), sign = _mm256_set1_ps(-0.0f);
    const __m256i shift = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    int64_t i;
    int k;
    stream = stream && (uintptr_t)out % 32 == 0;
    for (i = 0; i + 16 <= n; i += 16) {
        uint16_t word;
        memcpy(&word, bits + i / 8, 2);
        for (k = 0; k < 2; k++) {
            __m256i above = _mm256_sllv_epi32(_mm256_set1_epi32(word >> 8 * k), shift);
            __m256 value = _mm256_mul_ps(v8, sizes8(steps + i + 8 * k));
            value = _mm256_xor_ps(value, _mm256_andnot_ps(_mm256_castsi256_ps(above), sign));
            if (accumulate)
                value = _mm256_add_ps(_mm256_loadu_ps(out + i + 8 * k), value);
            if (stream)
                _mm256_stream_ps(out + i + 8 * k, value);
            else
                _mm256_storeu_ps(out + i + 8 * k, value);
        }
        if (learn)
            learn16(steps + i, word);
    }
    decode_from(bits, steps, i, n, out, v, accumulate, learn);
}

TWO_TYPES(avx2, AVX2)

/* ---- AVX-512 ---- */
#define AVX512 __attribute__((target("avx512f")))

INLINE AVX512 __m512 load16(const void *g, int64_t i, int bf16) {
    if (bf16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)((const uint16_t *)g + i));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    return _mm512_loadu_ps((const float *)g + i);
}

INLINE AVX512 __m512 sizes16(const uint8_t *steps) {
    const __m512 eighths = _mm512_mul_ps(
        _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_setr_ps(EIGHTHS)))),
        _mm512_castsi512_ps(_mm512_mask_blend_epi32(0xff00, _mm512_set1_epi32(0x3b800000), _mm512_set1_epi32(0x3c000000))));
    __m512i step = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)steps));
    __m512 size = _mm512_permutexvar_ps(step, eighths); /* its lowest four bits count: two octaves, from 2^-8 on */
    __m512i octaves = _mm512_slli_epi32(_mm512_and_si512(step, _mm512_set1_epi32(0x70)), 20);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(size), octaves));
}

/* `value` with the sign bit where it is to be `below` zero. */
INLINE AVX512 __m512 signed16(__mmask16 below, __m512 value) {
    const __m512i sign = _mm512_set1_epi32((int)0x80000000u), word = _mm512_castps_si512(value);
    return _mm512_castsi512_ps(_mm512_mask_xor_epi32(word, below, word, sign));
}

INLINE AVX512 int code_avx512(const void *g, const float *e, const uint8_t *steps, int64_t n, float v, uint8_t *bits,
                              float *next, float *sums, int stream, int bf16) {
    const __m512 zero = _mm512_setzero_ps(), v16 = _mm512_set1_ps(v);
    __m512 products = zero, squares = zero;
    __m512i largest = _mm512_setzero_si512();
    Lanes lanes;
    int64_t i;
    stream = stream && (uintptr_t)next % 64 == 0;
#pragma GCC unroll 4
    for (i = 0; i + 16 <= n; i += 16) {
        __m512 c = _mm512_add_ps(load16(g, i, bf16), _mm512_loadu_ps(e + i)), size = sizes16(steps + i), rest;
        __m512 length = _mm512_abs_ps(c);
        __mmask16 below = _mm512_cmp_ps_mask(c, zero, _CMP_LT_OQ);
        uint16_t word = (uint16_t)~below;
        _mm_prefetch((const char *)g + (i + AHEAD) * (bf16 ? 2 : 4), _MM_HINT_T0);
        _mm_prefetch((const char *)(e + i + AHEAD), _MM_HINT_T0);
        largest = _mm512_max_epu32(largest, _mm512_castps_si512(length));
        if (is_sampled(i)) {
            products = _mm512_add_ps(products, _mm512_mul_ps(length, size));
            squares = _mm512_add_ps(squares, _mm512_mul_ps(size, size));
        }
        memcpy(bits + i / 8, &word, 2);
        rest = _mm512_sub_ps(c, signed16(below, _mm512_mul_ps(v16, size)));
        if (stream)
            _mm512_stream_ps(next + i, rest);
        else
            _mm512_storeu_ps(next + i, rest);
    }
    _mm512_storeu_ps(lanes.products, products);
    _mm512_storeu_ps(lanes.squares, squares);
    return finish(g, e, steps, i, n, v, bits, next, &lanes, sums, bf16) &
           (_mm512_reduce_max_epu32(largest) < 0x7f800000);
}

AVX512 static void decode_avx512(const uint8_t *bits, uint8_t *steps, int64_t n, float *out, float v, int accumulate,
                                 int learn, int stream) {
    const __m512 v16 = _mm512_set1_ps(v);
    int64_t i;
    stream = stream && (uintptr_t)out % 64 == 0;
    for (i = 0; i + 16 <= n; i += 16) {
        uint16_t word;
        __m512 value;
        memcpy(&word, bits + i / 8, 2);
        value = signed16((__mmask16)~word, _mm512_mul_ps(v16, sizes16(steps + i)));
        if (accumulate)
            value = _mm512_add_ps(_mm512_loadu_ps(out + i), value);
        if (stream)
            _mm512_stream_ps(out + i, value);
        else
            _mm512_storeu_ps(out + i, value);
        if (learn)
            learn16(steps + i, word);
    }
    decode_from(bits, steps, i, n, out, v, accumulate, learn);
}

#define learn_avx512 learn_avx2

TWO_TYPES(avx512, AVX512)
