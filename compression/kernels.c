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

/* Elements from which stores bypass the cache: what was written a step ago is in no near cache by now. */
static const int64_t STREAM = 1 << 16;

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
                               message, e != next && elements >= STREAM);
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
