/* One row: its numbers, what every kernel shares, and the portable kernel. */
#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
#define X86 1
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define NEON 1
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

enum { LANES = 16, LOWEST = -125, HIGHEST = 113 };
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

/* `count` values, 1 or 2, in fp16 with one exponent. */
static void encode_values(const double *mean, int count, uint8_t *values, int8_t *exponent) {
    double largest = 0;
    uint64_t word;
    int e = 0, k;
    for (k = 0; k < count; k++) {
        double size = mean[k] < 0 ? -mean[k] : mean[k];
        largest = size > largest ? size : largest;
    }
    memcpy(&word, &largest, 8);
    if (largest > 0) {
        e = (int)(word >> 52) - 1023 - 14;
        e = e < LOWEST ? LOWEST : e > HIGHEST ? HIGHEST : e;
    }
    *exponent = (int8_t)e;
    for (k = 0; k < count; k++) {
        float scaled = (float)(mean[k] * power_of_two(-e));
        uint16_t half = half_of(scaled > LARGEST ? LARGEST : scaled < -LARGEST ? -LARGEST : scaled);
        memcpy(values + 2 * k, &half, 2);
    }
}

static void decode_values(const uint8_t *values, int8_t exponent, double scale, int count, float *decoded) {
    int k;
    for (k = 0; k < count; k++) {
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

/* ---- levels: 4 or 8 bits a value, evenly spaced; plain loops, which compilers turn into vectors ---- */

INLINE int top_of(int width) { return width == 4 ? 7 : 127; } /* levels above zero, and as many below */

/* The largest |c|, as the bits of a float32: what is not finite is largest of all. */
INLINE uint32_t largest_of(const void *g, const float *e, int64_t n, int bf16) {
    uint32_t found = 0;
    int64_t i;
    for (i = 0; i < n; i++) {
        float c = load(g, i, bf16) + e[i];
        uint32_t word;
        memcpy(&word, &c, 4);
        word &= 0x7fffffff;
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

/* ---- a kernel: functions for one row; those that read g twice, for float32 and for bfloat16 ---- */

/* Bits and the sums below and above zero; returns the count above. `next_g` is worth fetching. */
typedef int64_t Sums(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums, const void *next_g);
/* c - decoded; `stream`: past the cache. */
typedef void Residual(const void *g, const float *e, int64_t n, float *next, const float *v, int stream,
                      const void *next_g);
typedef void Decode(const uint8_t *bits, int64_t n, float *out, const float *v, int accumulate, int stream);
typedef uint32_t Largest(const void *g, const float *e, int64_t n);
typedef void Levels(const void *g, const float *e, int64_t n, float step, int top, uint8_t *codes, float *next);
typedef void DecodeLevels(const uint8_t *codes, int width, int64_t n, float *out, float step, int accumulate);
typedef void Widened(const void *g, int64_t n, float *out); /* as float32 */
typedef struct {
    const char *name;
    Sums *sums[2];
    Residual *residual[2];
    Decode *decode;
    Largest *largest[2];
    Levels *levels[2];
    DecodeLevels *decode_levels;
    Widened *widened[2];
} Kernel;

#define OF_ONE_TYPE(name, type, bf16, ATTRIBUTE)                                                                       \
    ATTRIBUTE static int64_t sums_##name##type(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums,   \
                                               const void *next_g) {                                                   \
        return sums_##name(g, e, n, bits, sums, next_g, bf16);                                                         \
    }                                                                                                                  \
    ATTRIBUTE static void residual_##name##type(const void *g, const float *e, int64_t n, float *next, const float *v, \
                                                int stream, const void *next_g) {                                      \
        residual_##name(g, e, n, next, v, stream, next_g, bf16);                                                       \
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
    {label, BOTH(sums, name), BOTH(residual, name), decode_##name,                                                     \
     BOTH(largest, name), BOTH(levels, name), decode_levels_##name, BOTH(widened, name)}

/* ---- portable ---- */

INLINE int64_t sums_portable(const void *g, const float *e, int64_t n, uint8_t *bits, float *sums,
                             const void *next_g, int bf16) {
    Lanes lanes = {{0}, {0}};
    float below[LANES] = {0}, above[LANES] = {0};
    uint32_t counts[LANES] = {0};
    int64_t i, count = 0;
    int k;
    (void)next_g;
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
                              const void *next_g, int bf16) {
    (void)stream;
    (void)next_g;
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
