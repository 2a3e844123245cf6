/* The quantiser's inner loops. What they compute, to the bit, is in numpy_kernels.py, their reference.
 *
 * A row is read twice: once for the signs and sums, which brings it into the first cache, and once more, from there,
 * for the residual. So each element crosses the memory bus as in `e.add_(g)`: g and e are read, the next residual is
 * written, past the cache where the bucket is too large to stay there (an ordinary store would read the line first). In place nothing needs that:
 * the line is in the cache.
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
typedef struct { /* a row's bits begin at byte · width */
    uint8_t *bits, *values;
    int8_t *exponents;
    int width;
} Message;
typedef struct { /* what is coded: gradient + residual; both are float32 but the gradient, which may be bfloat16 */
    const void *gradient;
    const float *residual;
    float *next;
    int bf16, stream;
} Source;

INLINE int is_finite(float x) { return x - x == 0; }

INLINE int values_of(int width) { return width == 1 ? 2 : 1; } /* a row */

/* One row, whose gradient may lie elsewhere than the source's. Returns whether it is finite. */
static int quantise_row(const Kernel *kernel, const Source *source, const void *g, int bf16, const Rows *rows, int64_t r,
                        const Message *message, uint8_t *codes) {
    const int64_t start = rows->start[r], n = rows->length[r];
    const void *next_g = (const char *)source->gradient + (start + n) * (source->bf16 ? 2 : 4);
    const float *e = source->residual + start;
    uint8_t *bits = message->bits + rows->byte[r] * message->width;
    uint8_t *values = message->values + 2 * values_of(message->width) * r;
    float *next = source->next + start, v[2];
    double mean[2];
    if (message->width == 1) {
        float sums[2], scaled[2] = {0, 0};
        int64_t count[2];
        int k;
        count[1] = kernel->sums[bf16](g, e, n, bits, sums, next_g);
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
        encode_values(mean, 2, values, message->exponents + r);
        decode_values(values, message->exponents[r], 1.0, 2, v);
        kernel->residual[bf16](g, e, n, next, v, source->stream, next_g);
    } else {
        const uint32_t word = kernel->largest[bf16](g, e, n);
        const int top = top_of(message->width);
        float largest;
        memcpy(&largest, &word, 4);
        if (!is_finite(largest))
            return 0;
        mean[0] = (double)largest / top;
        encode_values(mean, 1, values, message->exponents + r);
        decode_values(values, message->exponents[r], 1.0, 1, v);
        kernel->levels[bf16](g, e, n, v[0], top, message->width == 8 ? bits : codes, next);
        if (message->width == 4)
            pack_nibbles(codes, n, bits);
    }
    return 1;
}

static void decode_row(const Kernel *kernel, const Message *message, const Rows *rows, int64_t r, float *out,
                       double scale, int accumulate, int stream) {
    const uint8_t *bits = message->bits + rows->byte[r] * message->width;
    const int count = values_of(message->width);
    float v[2];
    decode_values(message->values + 2 * count * r, message->exponents[r], scale, count, v);
    if (message->width == 1)
        kernel->decode(bits, rows->length[r], out, v, accumulate, stream);
    else
        kernel->decode_levels(bits, message->width, rows->length[r], out, v[0], accumulate);
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
                        int accumulate, int stream) {
    int64_t r;
    for (r = 0; r < rows->count; r++)
        decode_row(kernel, message, rows, r, out + rows->start[r], scale, accumulate, stream);
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
            decode_row(kernel, received + k, rows, r, sum, 1.0, 1, 0);
        finite = quantise_row(kernel, source, sum, 0, rows, r, answer, codes);
    }
    fence(source->stream);
    return finite;
}

/* ---- Python: addresses come as integers, checked by quantise.py ---- */

typedef unsigned long long Address;
#define AT(type, address) ((type)(uintptr_t)(address))

static Message message_at(const uint64_t *three, int width) {
    Message message = {AT(uint8_t *, three[0]), AT(uint8_t *, three[1]), AT(int8_t *, three[2]), width};
    return message;
}

/* Where rows lie: start, length, byte, count; each message: bits, values, exponents. All as one array of int64. */
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

/* quantise(kernel, gradient, is bfloat16, residual, next, rows, messages, senders, width, streams): the first message
 * is written; those behind it, one a sender, were received and are added to the gradient. */
static PyObject *quantise(PyObject *module, PyObject *args) {
    const char *name;
    Address g, e, next, rows, messages;
    long long senders;
    int bf16, width, stream, finite = 0;
    Call call;
    Message *received;
    float *sum;
    uint8_t *codes;
    int64_t size, k;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKpKKKKLip", &name, &g, &bf16, &e, &next, &rows, &messages, &senders, &width, &stream) ||
        !begin(&call, name, rows, messages))
        return NULL;
    size = longest(&call.rows);
    received = PyMem_Malloc((size_t)(senders + 1) * sizeof(Message));
    sum = PyMem_Malloc((size_t)(size + 1) * sizeof(float));
    codes = PyMem_Malloc((size_t)(size + 1));
    if (received == NULL || sum == NULL || codes == NULL) {
        PyErr_NoMemory();
    } else {
        Source source = {AT(const void *, g), AT(const float *, e), AT(float *, next), bf16, stream && e != next};
        Message message = message_at(call.messages, width);
        for (k = 0; k < senders; k++)
            received[k] = message_at(call.messages + 3 * (k + 1), 1);
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

/* decode(kernel, rows, messages, out, scale, accumulate, width, streams) */
static PyObject *decode(PyObject *module, PyObject *args) {
    const char *name;
    Address out, rows, messages;
    double scale;
    int accumulate, width, stream;
    Call call;
    (void)module;
    if (!PyArg_ParseTuple(args, "sKKKdpip", &name, &rows, &messages, &out, &scale, &accumulate, &width, &stream) ||
        !begin(&call, name, rows, messages))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    {
        Message message = message_at(call.messages, width);
        decode_rows(call.kernel, &message, &call.rows, AT(float *, out), scale, accumulate, stream && !accumulate);
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
