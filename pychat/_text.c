/* What is asked of the text of each message, eight bytes at once: Python looks at letter after letter, and that is a
   twelfth of all that a private message costs.

   `grammar.is_plain` is the same in Python.  */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* The highest bit of one of these bytes is set if one is no printable ASCII: it has that bit itself, gets it when 0x20 is
   taken from less, or when 1 is added to 0x7f.  What one byte borrows from the next, or carries to it, is only there when
   something is odd already.  All its other bits mean nothing.  */
#define EACH (~(uint64_t)0 / 255)
#define ODD(eight) ((eight) | ((eight) - EACH * 0x20) | ((eight) + EACH))

static PyObject *
is_plain(PyObject *Py_UNUSED(module), PyObject *data)
{
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes are judged");
        return NULL;
    }
    const char *bytes = PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    uint64_t eight, odd = 0;
    for (; size >= (Py_ssize_t)sizeof eight; bytes += sizeof eight, size -= sizeof eight) {
        memcpy(&eight, bytes, sizeof eight);
        odd |= ODD(eight);
    }
    for (; size > 0; bytes++, size--)
        odd |= ODD(EACH * (unsigned char)*bytes);
    return PyBool_FromLong(!(odd & EACH * 0x80));
}

static PyMethodDef functions[] = {
    {"is_plain", is_plain, METH_O, "Return whether all of these bytes are printable ASCII."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pychat._text",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__text(void)
{
    return PyModule_Create(&module);
}
