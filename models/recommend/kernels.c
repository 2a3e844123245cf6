/* Sums over sparse rows and the best of them: what best_items.py computes in scipy, to the bit.
 *
 * Rows of a few entries are added up into a row of all items, the touched ones are noted, and the best K are kept in a
 * heap whose root is the worst one kept. Most touched items fall at the first comparison, with that root.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <math.h>
#include <stdint.h>

#define AT(type, number) ((type)(uintptr_t)(number))
typedef unsigned long long Address;

typedef struct {
    double score;
    int64_t item;
} Ranked;
typedef struct {
    double sum;
    int64_t user; /* that touched it last */
} Cell;

/* ---- the best ---- */

/* Whether a stands behind b: by its score, of equal scores by its place among the items. */
static int is_behind(Ranked a, Ranked b) { return a.score < b.score || (a.score == b.score && a.item > b.item); }

static void sink(Ranked *heap, int64_t count, int64_t at, Ranked one) {
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && is_behind(heap[child + 1], heap[child]))
            child++;
        if (!is_behind(heap[child], one))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = one;
}

/* Into a heap of at most k; returns how many it holds. */
static int64_t offer(Ranked *heap, int64_t count, int64_t k, Ranked one) {
    if (count == k) {
        if (is_behind(heap[0], one))
            sink(heap, k, 0, one);
        return k;
    }
    {
        int64_t at = count;
        while (at > 0 && is_behind(one, heap[(at - 1) / 2])) {
            heap[at] = heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        heap[at] = one;
    }
    return count + 1;
}

/* From a heap to an order, the best first. */
static void unheap(Ranked *heap, int64_t count) {
    while (count > 1) {
        Ranked worst = heap[0];
        count--;
        sink(heap, count, 0, heap[count]);
        heap[count] = worst;
    }
}

/* ---- suggestions ---- */

static PyObject *best(PyObject *self, PyObject *args) {
    Address history_starts, history_items, starts, columns, values, popularities, items_out, scores_out;
    long long users, items, k;
    Cell *cells;
    Ranked *heap;
    int32_t *touched;
    (void)self;
    if (!PyArg_ParseTuple(args, "LLLKKKKKKKK", &users, &items, &k, &history_starts, &history_items, &starts, &columns,
                          &values, &popularities, &items_out, &scores_out))
        return NULL;
    cells = PyMem_Malloc((size_t)items * sizeof(Cell));
    heap = PyMem_Malloc((size_t)k * sizeof(Ranked));
    touched = PyMem_Malloc((size_t)(items + 1) * sizeof(int32_t));
    if (cells == NULL || heap == NULL || touched == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    {
        const int64_t *from = AT(const int64_t *, history_starts), *start = AT(const int64_t *, starts);
        const int32_t *owned = AT(const int32_t *, history_items), *column = AT(const int32_t *, columns);
        const float *value = AT(const float *, values);
        const double *popularity = AT(const double *, popularities);
        int64_t user, j, n;
        for (j = 0; j < items; j++)
            cells[j].user = -1;
        for (user = 0; user < users; user++) {
            int64_t count = 0, held = 0, *item_out = AT(int64_t *, items_out) + user * k;
            double *score_out = AT(double *, scores_out) + user * k;
            for (j = from[user]; j < from[user + 1]; j++) {
                int64_t end = start[owned[j] + 1];
                for (n = start[owned[j]]; n < end; n++) {
                    Cell *cell = &cells[column[n]];
                    int is_new = cell->user != user;
                    touched[count] = column[n];
                    count += is_new;
                    cell->sum = (is_new ? 0.0 : cell->sum) + (double)value[n];
                    cell->user = user;
                }
            }
            for (j = from[user]; j < from[user + 1]; j++) {
                cells[owned[j]].sum = -INFINITY;
                cells[owned[j]].user = user;
            }
            for (j = 0; j < count; j++) {
                Ranked one = {cells[touched[j]].sum, touched[j]};
                if (one.score > 0)
                    held = offer(heap, held, k, one);
            }
            if (held < k) { /* then those count that nothing speaks for, and those that something speaks against */
                int is_known = from[user] < from[user + 1];
                for (j = held = 0; j < items; j++) {
                    Ranked one = {cells[j].user == user ? cells[j].sum : is_known ? 0.0 : popularity[j], j};
                    if (one.score > -INFINITY)
                        held = offer(heap, held, k, one);
                }
            }
            unheap(heap, held);
            for (j = 0; j < k; j++) {
                item_out[j] = j < held ? heap[j].item : -1;
                score_out[j] = j < held ? heap[j].score : -INFINITY;
            }
        }
    }
    Py_END_ALLOW_THREADS
done:
    PyMem_Free(cells);
    PyMem_Free(heap);
    PyMem_Free(touched);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef METHODS[] = {
    {"best", best, METH_VARARGS, "The best items of users by sparse weights."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot SLOTS[] = {{0, NULL}};
static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernels", "Inner loops of the recommenders.", 0, METHODS, SLOTS, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&MODULE); }
