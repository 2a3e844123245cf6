/* The quantiser's inner loops. What they compute, to the bit, is in numpy_kernels.py, their reference.
 *
 * A row is read once: its step sizes are known before. So each element crosses the memory bus as in `e.add_(g)`: g and e
 * are read, the next residual is written, past the cache where the bucket is too large to stay there (an ordinary store
 * would read the line first). In place nothing needs that: the line is in the cache.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <stdint.h>
#include <string.h>

#include "kernels_row.h"
#ifdef X86
#include "kernels_x86.h"
#endif
#ifdef NEON
#include "kernels_neon.h"
#endif

static const double MEMORY = 0.98; /* of a row's means, from step to step */

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
        return __builtin_cpu_supports("avx512f");
    if (strcmp(kernel->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2");
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
typedef struct { /* a row's bits begin at byte · width, its steps, of 1 bit a value, at 8 · byte */
    uint8_t *bits, *values, *steps;
    int8_t *exponents;
    int width;
} Message;
typedef struct { /* what is coded: gradient + residual; both are float32 but the gradient, which may be bfloat16 */
    const void *gradient;
    const float *residual;
    float *next;
    const double *means; /* of 1 bit a value, three a row: of |c| · size, size^2 and level over the steps before */
    double *next_means;
    int bf16, stream;
} Source;

INLINE int is_finite(double x) { return x - x == 0; }

/* A sum that may have overflowed, taken again of c · 2^-40 then. */
static double whole(float sum, const void *g, const float *e, const uint8_t *steps, int64_t n, int bf16) {
    float sums[2];
    if (is_finite(sum))
        return sum;
    sums_of(g, e, steps, n, bf16, SMALL, sums);
    return (double)sums[0] * 0x1p40;
}

/* One row in 1 bit a value, whose gradient may lie elsewhere than the source's. Returns whether it is finite. */
static int code_row(const Kernel *kernel, const Source *source, const void *g, int bf16, const Rows *rows, int64_t r,
                    const Message *message) {
    const int64_t n = rows->length[r];
    const float *e = source->residual + rows->start[r];
    const uint8_t *steps = message->steps + 8 * rows->byte[r];
    uint8_t *value = message->values + 2 * r;
    const double *now = source->means + 3 * r;
    double *next = source->next_means + 3 * r, product = now[0], square = now[1], level = now[2];
    int64_t count, levels;
    float sums[2];
    sample_of(steps, n, &count, &levels);
    if (square == 0) { /* the first time: as these values ask for */
        sums_of(g, e, steps, n, bf16, 1, sums);
        product = whole(sums[0], g, e, steps, n, bf16) / (double)count;
        square = (double)sums[1] / (double)count;
        level = (double)levels / (double)count;
        if (!is_finite(product))
            return 0;
    }
    encode_value(product / square * (level / 64), HIGHEST_OF_BITS, value, message->exponents + r);
    if (!kernel->code[bf16](g, e, steps, n, decode_value(value, message->exponents[r], 1.0),
                            message->bits + rows->byte[r], source->next + rows->start[r], sums, source->stream))
        return 0;
    next[0] = MEMORY * product + (1 - MEMORY) * (whole(sums[0], g, e, steps, n, bf16) / (double)count);
    next[1] = MEMORY * square + (1 - MEMORY) * ((double)sums[1] / (double)count);
    next[2] = MEMORY * level + (1 - MEMORY) * ((double)levels / (double)count);
    return 1;
}

/* One row in 4 or 8 bits a value. */
static int level_row(const Kernel *kernel, const Source *source, const void *g, int bf16, const Rows *rows, int64_t r,
                     const Message *message, uint8_t *codes) {
    const int64_t n = rows->length[r];
    const float *e = source->residual + rows->start[r];
    uint8_t *bits = message->bits + rows->byte[r] * message->width, *value = message->values + 2 * r;
    const uint32_t word = kernel->largest[bf16](g, e, n);
    const int top = top_of(message->width);
    float largest;
    memcpy(&largest, &word, 4);
    if (!is_finite(largest))
        return 0;
    encode_value((double)largest / top, HIGHEST, value, message->exponents + r);
    kernel->levels[bf16](g, e, n, decode_value(value, message->exponents[r], 1.0), top,
                         message->width == 8 ? bits : codes, source->next + rows->start[r]);
    if (message->width == 4)
        pack_nibbles(codes, n, bits);
    return 1;
}

static int quantise_row(const Kernel *kernel, const Source *source, const void *g, int bf16, const Rows *rows, int64_t r,
                        const Message *message, uint8_t *codes) {
    if (message->width == 1)
        return code_row(kernel, source, g, bf16, rows, r, message);
    return level_row(kernel, source, g, bf16, rows, r, message, codes);
}

static void decode_row(const Kernel *kernel, const Message *message, const Rows *rows, int64_t r, float *out,
                       double scale, int accumulate, int learn, int stream) {
    const uint8_t *bits = message->bits + rows->byte[r] * message->width;
    const float v = decode_value(message->values + 2 * r, message->exponents[r], scale);
    if (message->width == 1)
        kernel->decode(bits, message->steps + 8 * rows->byte[r], rows->length[r], out, v, accumulate, learn, stream);
    else
        kernel->decode_levels(bits, message->width, rows->length[r], out, v, accumulate);
}

static int64_t longest(const Rows *rows) {
    int64_t r, found = 0;
    for (r = 0; r < rows->count; r++)
        found = rows->length[r] > found ? rows->length[r] : found;
    return found;
}

/* `codes`: one byte for each element of the longest row, where the message's width is 4. */
static int quantise_rows(const Kernel *kernel, const Source *source, const Rows *rows, const Message *message,
                         uint8_t *codes) {
    int64_t r;
    int finite = 1;
    for (r = 0; finite && r < rows->count; r++) {
        const void *g = (const char *)source->gradient + rows->start[r] * (source->bf16 ? 2 : 4);
        finite = quantise_row(kernel, source, g, source->bf16, rows, r, message, codes);
    }
    fence(source->stream);
    return finite;
}

static void decode_rows(const Kernel *kernel, const Message *message, const Rows *rows, float *out, double scale,
                        int accumulate, int learn, int stream) {
    int64_t r;
    for (r = 0; r < rows->count; r++)
        decode_row(kernel, message, rows, r, out + rows->start[r], scale, accumulate, learn, stream);
    fence(stream);
}

/* Gradient + all that was received + residual, coded. The sum of a row never leaves the first cache. */
static int sum_rows(const Kernel *kernel, const Source *source, const Rows *rows, const Message *received,
                    int64_t senders, const Message *answer, float *sum, uint8_t *codes) {
    int64_t r, k;
    int finite = 1;
    for (r = 0; finite && r < rows->count; r++) {
        const void *g = (const char *)source->gradient + rows->start[r] * (source->bf16 ? 2 : 4);
        kernel->widened[source->bf16](g, rows->length[r], sum);
        for (k = 0; k < senders; k++)
            decode_row(kernel, received + k, rows, r, sum, 1.0, 1, 0, 0);
        finite = quantise_row(kernel, source, sum, 0, rows, r, answer, codes);
    }
    fence(source->stream);
    return finite;
}

/* ---- Python: addresses come as integers, checked by quantise.py ---- */

typedef unsigned long long Address;
#define AT(type, address) ((type)(uintptr_t)(address))

static Message message_at(const uint64_t *four, int width) {
    Message message = {AT(uint8_t *, four[0]), AT(uint8_t *, four[1]), AT(uint8_t *, four[3]), AT(int8_t *, four[2]),
                       width};
    return message;
}

/* Where rows lie: start, length, byte, count; each message: bits, values, exponents, steps. All as arrays of int64. */
typedef struct {
    const Kernel *kernel;
    Rows rows;
    const uint64_t *messages;
} Call;

static int begin(Call *call, const char *name, Address rows, Address messages) {
    const uint64_t *four = AT(const uint64_t *, rows);
    Rows found = {AT(const int64_t *, four[0]), AT(const int64_t *, four[1]), AT(const int64_t *, four[2]),
                  (int64_t)four[3]};
    call->kernel = find(name);
    call->rows = found;
    call->messages = AT(const uint64_t *, messages);
    return call->kernel != NULL;
}

/* quantise(kernel, gradient, is bfloat16, residual, next, means, next means, rows, messages, senders, width, streams):
 * the first message is written; those behind it, one a sender, were received and are added to the gradient. */
static PyObject *quantise(PyObject *module, PyObject *args) {
    const char *name;
    Address g, e, next, means, next_means, rows, messages;
    long long senders;
    int bf16, width, stream, finite = 0;
    Call call;
    Message *received;
    float *sum;
    uint8_t *codes;
    int64_t size, k;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKpKKKKKKLip", &name, &g, &bf16, &e, &next, &means, &next_means, &rows, &messages,
                          &senders, &width, &stream) ||
        !begin(&call, name, rows, messages))
        return NULL;
    size = longest(&call.rows);
    received = PyMem_Malloc((size_t)(senders + 1) * sizeof(Message));
    sum = PyMem_Malloc((size_t)(size + 1) * sizeof(float));
    codes = PyMem_Malloc((size_t)(size + 1));
    if (received == NULL || sum == NULL || codes == NULL) {
        PyErr_NoMemory();
    } else {
        Source source = {
            AT(const void *, g), AT(const float *, e), AT(float *, next), AT(const double *, means),
            AT(double *, next_means), bf16, stream && e != next,
        };
        Message message = message_at(call.messages, width);
        for (k = 0; k < senders; k++)
            received[k] = message_at(call.messages + 4 * (k + 1), 1);
        Py_BEGIN_ALLOW_THREADS
        if (senders == 0)
            finite = quantise_rows(call.kernel, &source, &call.rows, &message, codes);
        else
            finite = sum_rows(call.kernel, &source, &call.rows, received, senders, &message, sum, codes);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(received);
    PyMem_Free(sum);
    PyMem_Free(codes);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(finite);
}

/* decode(kernel, rows, messages, out, scale, accumulate, learn, width, streams) */
static PyObject *decode(PyObject *module, PyObject *args) {
    const char *name;
    Address out, rows, messages;
    double scale;
    int accumulate, learn, width, stream;
    Call call;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKKKdppip", &name, &rows, &messages, &out, &scale, &accumulate, &learn, &width,
                          &stream) ||
        !begin(&call, name, rows, messages))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    {
        Message message = message_at(call.messages, width);
        decode_rows(call.kernel, &message, &call.rows, AT(float *, out), scale, accumulate, learn, stream && !accumulate);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* learn(kernel, rows, messages) */
static PyObject *learn(PyObject *module, PyObject *args) {
    const char *name;
    Address rows, messages;
    Call call;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKK", &name, &rows, &messages) || !begin(&call, name, rows, messages))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    {
        Message message = message_at(call.messages, 1);
        int64_t r;
        for (r = 0; r < call.rows.count; r++)
            call.kernel->learn(message.bits + call.rows.byte[r], message.steps + 8 * call.rows.byte[r],
                               call.rows.length[r]);
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
    {"learn", learn, METH_VARARGS, "Moves the steps by what a message holds."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot SLOTS[] = {{0, NULL}};
static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernels", "Inner loops of the quantiser.", 0, METHODS, SLOTS, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&MODULE); }
