/* One row: its numbers, what every kernel shares, and the portable kernel. */
#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
#define X86 1
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define NEON 1
#endif

#ifdef X86
#include <immintrin.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

enum { LANES = 16, LOWEST = -125, HIGHEST = 113, HIGHEST_OF_BITS = 104 };
static const float LARGEST = 32752.0f, SMALL = 0x1p-40f;

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

/* A value, zero or above, in fp16 with an exponent. */
static void encode_value(double mean, int highest, uint8_t *value, int8_t *exponent) {
    uint64_t word;
    uint16_t half;
    float scaled;
    int e = 0;
    memcpy(&word, &mean, 8);
    if (mean > 0) {
        e = (int)(word >> 52) - 1023 - 14;
        e = e < LOWEST ? LOWEST : e > highest ? highest : e;
    }
    *exponent = (int8_t)e;
    scaled = (float)(mean * power_of_two(-e));
    half = half_of(scaled > LARGEST ? LARGEST : scaled);
    memcpy(value, &half, 2);
}

static float decode_value(const uint8_t *value, int8_t exponent, double scale) {
    uint16_t half;
    memcpy(&half, value, 2);
    return (float)(double_of(half) * power_of_two(exponent) * scale);
}

/* ---- steps: a byte an element, its level and, in the highest bit, the sign sent last ---- */

#define OCTAVE(p)                                                                                                      \
    0x1p0f *p, 0x1.172b84p0f *p, 0x1.306fe0p0f *p, 0x1.4bfdaep0f *p, 0x1.6a09e6p0f *p, 0x1.8ace54p0f *p,               \
        0x1.ae89fap0f *p, 0x1.d5818ep0f *p
#define EIGHTHS OCTAVE(0x1p0f) /* 2^(k / 8) */
#define OCTAVES                                                                                                        \
    OCTAVE(0x1p-8f), OCTAVE(0x1p-7f), OCTAVE(0x1p-6f), OCTAVE(0x1p-5f), OCTAVE(0x1p-4f), OCTAVE(0x1p-3f),              \
        OCTAVE(0x1p-2f), OCTAVE(0x1p-1f), OCTAVE(0x1p0f), OCTAVE(0x1p1f), OCTAVE(0x1p2f), OCTAVE(0x1p3f),              \
        OCTAVE(0x1p4f), OCTAVE(0x1p5f), OCTAVE(0x1p6f), OCTAVE(0x1p7f)
static const float SIZES[256] = {OCTAVES, OCTAVES}; /* 2^((level - 64) / 8), whatever the sign */

INLINE float size_of(uint8_t step) { return SIZES[step]; }

/* A level up where the sign is the last one again, and one down where it is not. In bytes and without a branch, so that
 * a compiler can use vectors. `sign`: 0 or 1. */
INLINE uint8_t learnt(uint8_t step, uint8_t sign) {
    const uint8_t level = step & 127, other = (uint8_t)(step >> 7 ^ sign);
    const uint8_t up = (uint8_t)((other ^ 1) & (level < 127)), down = (uint8_t)(other & (level > 0));
    return (uint8_t)((level + up - down) | sign << 7);
}

/* Of eight elements, one byte each: 0 or 1. */
INLINE void signs_of(uint8_t byte, uint8_t *signs) {
    int k;
    for (k = 0; k < 8; k++)
        signs[k] = byte >> k & 1;
}

INLINE void learn_from(const uint8_t *bits, int64_t i, int64_t n, uint8_t *steps) {
    uint8_t signs[LANES];
    int k;
    for (; i % LANES == 0 && i + LANES <= n; i += LANES) {
        signs_of(bits[i / 8], signs);
        signs_of(bits[i / 8 + 1], signs + 8);
        for (k = 0; k < LANES; k++)
            steps[i + k] = learnt(steps[i + k], signs[k]);
    }
    for (; i < n; i++)
        steps[i] = learnt(steps[i], bits[i / 8] >> i % 8 & 1u);
}

/* ---- what every kernel shares: the end of a row, and rows whose sums overflow ---- */

/* Means over many steps are taken of one in four 16 elements: first, second, third, fourth of 64 in turn, so that no
 * column of a matrix is left out. */
INLINE int is_sampled(int64_t i) { return (i / 16 & 3) == (i / 64 & 3); }

enum { STEPS_AHEAD = 8192 }; /* a row's steps are summed before anything else is done, so they are fetched rows ahead */

/* How many of a row's elements are, and the sum of their levels. */
static void sample_of(const uint8_t *steps, int64_t n, int64_t *count, int64_t *levels) {
    int64_t i, k;
    *count = *levels = 0;
    for (i = 0; i < n; i = i / 64 % 4 == 3 ? i + 16 : i + 80) { /* the next one lies a block further in the next 64 */
        const int64_t end = i + 16 < n ? i + 16 : n;
        unsigned sum = 0;
#ifdef X86
        _mm_prefetch((const char *)(steps + i + STEPS_AHEAD), _MM_HINT_T0);
        if (end - i == 16) {
            __m128i some = _mm_and_si128(_mm_loadu_si128((const __m128i *)(steps + i)), _mm_set1_epi8(127));
            some = _mm_sad_epu8(some, _mm_setzero_si128());
            sum = (unsigned)(_mm_cvtsi128_si32(some) + _mm_extract_epi16(some, 4));
        } else
#endif
            for (k = i; k < end; k++)
                sum += steps[k] & 127;
        *count += end - i;
        *levels += sum;
    }
}

/* Of |c| · size and of size^2. */
typedef struct {
    float products[LANES], squares[LANES];
} Lanes;

static float pairwise(float *lane) {
    int half, k;
    for (half = LANES / 2; half > 0; half /= 2)
        for (k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

INLINE uint32_t size_bits(float x) {
    uint32_t word;
    memcpy(&word, &x, 4);
    return word & 0x7fffffff;
}

INLINE float magnitude(float x) {
    uint32_t word = size_bits(x);
    memcpy(&x, &word, 4);
    return x;
}

/* x where the sign is 1, -x where it is 0. */
INLINE float signed_by(float x, uint8_t sign) {
    uint32_t word;
    memcpy(&word, &x, 4);
    word ^= (uint32_t)(sign ^ 1) << 31;
    memcpy(&x, &word, 4);
    return x;
}

/* The last n - i < 16 elements of a row, then the sums; whether these elements are finite. */
INLINE int finish(const void *g, const float *e, const uint8_t *steps, int64_t i, int64_t n, float v, uint8_t *bits,
                  float *next, Lanes *lanes, float *sums, int bf16) {
    unsigned word = 0;
    uint32_t largest = 0;
    int64_t k;
    for (k = 0; i + k < n; k++) {
        float c = load(g, i + k, bf16) + e[i + k], size = size_of(steps[i + k]), d = v * size;
        largest = size_bits(c) > largest ? size_bits(c) : largest;
        if (is_sampled(i)) {
            lanes->products[k] += magnitude(c) * size;
            lanes->squares[k] += size * size;
        }
        word |= (c >= 0 ? 1u : 0u) << k;
        next[i + k] = c - (c >= 0 ? d : -d);
    }
    for (k = 0; i + 8 * k < n; k++)
        bits[i / 8 + k] = (uint8_t)(word >> 8 * k);
    sums[0] = pairwise(lanes->products);
    sums[1] = pairwise(lanes->squares);
    return largest < 0x7f800000;
}

/* The sums alone, those of c times `small`. */
static void sums_of(const void *g, const float *e, const uint8_t *steps, int64_t n, int bf16, float small,
                    float *sums) {
    Lanes lanes = {{0}, {0}};
    int64_t i;
    for (i = 0; i < n; i++) {
        float size = size_of(steps[i]);
        if (!is_sampled(i))
            continue;
        lanes.products[i % LANES] += magnitude(load(g, i, bf16) + e[i]) * small * size;
        lanes.squares[i % LANES] += size * size;
    }
    sums[0] = pairwise(lanes.products);
    sums[1] = pairwise(lanes.squares);
}

INLINE void decode_from(const uint8_t *bits, uint8_t *steps, int64_t i, int64_t n, float *out, float v, int accumulate,
                        int learn) {
    float sizes[LANES];
    uint8_t signs[LANES];
    int k;
    for (; i % LANES == 0 && i + LANES <= n; i += LANES) { /* a loop for each kind of work: those without a table are vectors */
        signs_of(bits[i / 8], signs);
        signs_of(bits[i / 8 + 1], signs + 8);
        for (k = 0; k < LANES; k++)
            sizes[k] = size_of(steps[i + k]);
        for (k = 0; k < LANES; k++) {
            float value = signed_by(v * sizes[k], signs[k]);
            out[i + k] = accumulate ? out[i + k] + value : value;
        }
        for (k = 0; learn && k < LANES; k++)
            steps[i + k] = learnt(steps[i + k], signs[k]);
    }
    for (; i < n; i++) {
        uint8_t sign = bits[i / 8] >> i % 8 & 1;
        float value = signed_by(v * size_of(steps[i]), sign);
        out[i] = accumulate ? out[i] + value : value;
        if (learn)
            steps[i] = learnt(steps[i], sign);
    }
}

/* ---- levels: 4 or 8 bits a value, evenly spaced; plain loops, which compilers turn into vectors ---- */

INLINE int top_of(int width) { return width == 4 ? 7 : 127; } /* levels above zero, and as many below */

/* The largest |c|, as the bits of a float32: what is not finite is largest of all. */
INLINE uint32_t largest_of(const void *g, const float *e, int64_t n, int bf16) {
    uint32_t found = 0;
    int64_t i;
    for (i = 0; i < n; i++) {
        uint32_t word = size_bits(load(g, i, bf16) + e[i]);
        found = word > found ? word : found;
    }
    return found;
}

/* Codes, one byte each, and c - decoded. */
INLINE void levels_of(const void *g, const float *e, int64_t n, float step, int top, uint8_t *codes, float *next,
                      int bf16) {
    const float magic = 12582912.0f; /* 1.5 · 2^23: adding it rounds to an integer, ties to even */
    const float plain = 1 / step, inverse = plain - plain == 0 ? plain : 0, most = (float)top;
    int64_t i;
    for (i = 0; i < n; i++) {
        float c = load(g, i, bf16) + e[i], q = c * inverse;
        q = q > most ? most : q;
        q = q < -most ? -most : q;
        q = (q + magic) - magic;
        codes[i] = (uint8_t)((int32_t)q + top);
        next[i] = c - q * step;
    }
}

INLINE void pack_nibbles(const uint8_t *codes, int64_t n, uint8_t *out) {
    int64_t i;
    for (i = 0; i < n / 2; i++)
        out[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
    if (n % 2)
        out[n / 2] = codes[n - 1];
}

INLINE void decode_levels_of(const uint8_t *codes, int width, int64_t n, float *out, float step, int accumulate) {
    const int top = top_of(width);
    int64_t i;
    for (i = 0; i < n; i++) {
        int code = width == 8 ? codes[i] : codes[i / 2] >> 4 * (i % 2) & 15;
        float value = (float)(code - top) * step;
        out[i] = accumulate ? out[i] + value : value;
    }
}

INLINE void widened_of(const void *g, int64_t n, float *out, int bf16) {
    int64_t i;
    for (i = 0; i < n; i++)
        out[i] = load(g, i, bf16);
}

/* ---- a kernel: functions for one row; those that read g, for float32 and for bfloat16 ---- */

/* Bits of c, c - decoded, and sums of |c| · size and of size^2; whether all is finite. `stream`: past the cache. */
typedef int Code(const void *g, const float *e, const uint8_t *steps, int64_t n, float v, uint8_t *bits, float *next,
                 float *sums, int stream);
typedef void Decode(const uint8_t *bits, uint8_t *steps, int64_t n, float *out, float v, int accumulate, int learn,
                    int stream);
typedef void Learn(const uint8_t *bits, uint8_t *steps, int64_t n);
typedef uint32_t Largest(const void *g, const float *e, int64_t n);
typedef void Levels(const void *g, const float *e, int64_t n, float step, int top, uint8_t *codes, float *next);
typedef void DecodeLevels(const uint8_t *codes, int width, int64_t n, float *out, float step, int accumulate);
typedef void Widened(const void *g, int64_t n, float *out); /* as float32 */
typedef struct {
    const char *name;
    Code *code[2];
    Decode *decode;
    Learn *learn;
    Largest *largest[2];
    Levels *levels[2];
    DecodeLevels *decode_levels;
    Widened *widened[2];
} Kernel;

#define OF_ONE_TYPE(name, type, bf16, ATTRIBUTE)                                                                       \
    ATTRIBUTE static int code_##name##type(const void *g, const float *e, const uint8_t *steps, int64_t n, float v,    \
                                           uint8_t *bits, float *next, float *sums, int stream) {                      \
        return code_##name(g, e, steps, n, v, bits, next, sums, stream, bf16);                                         \
    }                                                                                                                  \
    ATTRIBUTE static uint32_t largest_##name##type(const void *g, const float *e, int64_t n) {                         \
        return largest_of(g, e, n, bf16);                                                                              \
    }                                                                                                                  \
    ATTRIBUTE static void levels_##name##type(const void *g, const float *e, int64_t n, float step, int top,           \
                                              uint8_t *codes, float *next) {                                           \
        levels_of(g, e, n, step, top, codes, next, bf16);                                                              \
    }                                                                                                                  \
    ATTRIBUTE static void widened_##name##type(const void *g, int64_t n, float *out) {                                 \
        widened_of(g, n, out, bf16);                                                                                   \
    }
#define TWO_TYPES(name, ATTRIBUTE)                                                                                     \
    OF_ONE_TYPE(name, _f32, 0, ATTRIBUTE)                                                                              \
    OF_ONE_TYPE(name, _bf16, 1, ATTRIBUTE)                                                                             \
    ATTRIBUTE static void decode_levels_##name(const uint8_t *codes, int width, int64_t n, float *out, float step,     \
                                               int accumulate) {                                                       \
        if (width == 8)                                                                                                \
            decode_levels_of(codes, 8, n, out, step, accumulate);                                                      \
        else                                                                                                           \
            decode_levels_of(codes, 4, n, out, step, accumulate);                                                      \
    }
#define BOTH(function, name) {function##_##name##_f32, function##_##name##_bf16}
#define KERNEL(label, name)                                                                                            \
    {label, BOTH(code, name), decode_##name, learn_##name,                                                             \
     BOTH(largest, name), BOTH(levels, name), decode_levels_##name, BOTH(widened, name)}

/* ---- portable ---- */

INLINE int code_portable(const void *g, const float *e, const uint8_t *steps, int64_t n, float v, uint8_t *bits,
                         float *next, float *sums, int stream, int bf16) {
    Lanes lanes = {{0}, {0}};
    float products[LANES] = {0}, squares[LANES] = {0};
    uint32_t largest[LANES] = {0};
    int64_t i;
    int k, finite = 1;
    (void)stream;
    for (i = 0; i + LANES <= n; i += LANES) { /* no branch, so that a compiler can use whatever vectors there are */
        float c[LANES], sizes[LANES];
        uint32_t is_above[LANES], word = 0;
        for (k = 0; k < LANES; k++)
            sizes[k] = size_of(steps[i + k]);
        for (k = 0; k < LANES; k++) {
            uint32_t magnitude_bits;
            c[k] = load(g, i + k, bf16) + e[i + k];
            magnitude_bits = size_bits(c[k]);
            largest[k] = magnitude_bits > largest[k] ? magnitude_bits : largest[k];
        }
        for (k = 0; is_sampled(i) && k < LANES; k++) {
            products[k] += magnitude(c[k]) * sizes[k];
            squares[k] += sizes[k] * sizes[k];
        }
        for (k = 0; k < LANES; k++) {
            is_above[k] = c[k] >= 0;
            next[i + k] = c[k] - signed_by(v * sizes[k], (uint8_t)is_above[k]);
        }
        for (k = 0; k < LANES; k++)
            word |= is_above[k] << k;
        bits[i / 8] = (uint8_t)word;
        bits[i / 8 + 1] = (uint8_t)(word >> 8);
    }
    for (k = 0; k < LANES; k++)
        finite &= largest[k] < 0x7f800000;
    memcpy(lanes.products, products, sizeof products);
    memcpy(lanes.squares, squares, sizeof squares);
    return finish(g, e, steps, i, n, v, bits, next, &lanes, sums, bf16) & finite;
}

static void decode_portable(const uint8_t *bits, uint8_t *steps, int64_t n, float *out, float v, int accumulate,
                            int learn, int stream) {
    (void)stream;
    if (accumulate)
        decode_from(bits, steps, 0, n, out, v, 1, learn);
    else
        decode_from(bits, steps, 0, n, out, v, 0, learn);
}

static void learn_portable(const uint8_t *bits, uint8_t *steps, int64_t n) { learn_from(bits, 0, n, steps); }

TWO_TYPES(portable, )
