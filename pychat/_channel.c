/* What the chat asks of the sockets of its connections most often, without the steps in between.

   Python's own `socket.send` makes a tuple of its argument, parses it, asks for a buffer, and gives the interpreter's lock
   away and takes it again: as many steps as the chat itself needs to write one line to somebody.  Nothing here waits
   (MSG_DONTWAIT), so the lock is only offered once in a while, to the threads that keep the journal.

   `kernel.Channel` is the same in Python, for where this could not be compiled.  */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#if defined(__linux__) && !defined(SIOCOUTQ)
#define SIOCOUTQ TIOCOUTQ /* as linux/sockios.h has it, which not every system has */
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

/* As kernel.READ; and of so many calls the last one offers the lock: about every quarter of a millisecond of sending. */
enum { READ = 65536, TOGETHER = 32 };

typedef struct {
    PyObject_HEAD
    int fd;
} Channel;

/* How many kept the lock since it was offered last.  Who has it may count. */
static int kept;

#define CALL(call)                   \
    do {                             \
        if (++kept < TOGETHER) {     \
            call;                    \
        } else {                     \
            kept = 0;                \
            Py_BEGIN_ALLOW_THREADS   \
            call;                    \
            Py_END_ALLOW_THREADS     \
        }                            \
    } while (0)

static PyObject *
channel_send(Channel *self, PyObject *data)
{
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes are sent");
        return NULL;
    }
    const char *bytes = PyBytes_AS_STRING(data);
    size_t size = (size_t)PyBytes_GET_SIZE(data);
    int fd = self->fd;
    ssize_t sent;
    CALL(sent = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL));
    return PyLong_FromSsize_t(sent < 0 ? 0 : sent);
}

static PyObject *
channel_receive(Channel *self, PyObject *Py_UNUSED(nothing))
{
    char buffer[READ];
    int fd = self->fd;
    ssize_t size;
    CALL(size = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
    if (size >= 0)
        return PyBytes_FromStringAndSize(buffer, size);
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        Py_RETURN_NONE;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
channel_unsent(Channel *self, PyObject *Py_UNUSED(nothing))
{
#if defined(SIOCOUTQ)
    int size;
    if (ioctl(self->fd, SIOCOUTQ, &size) == 0)
        return PyLong_FromLong(size);
#elif defined(SO_NWRITE)
    int size;
    socklen_t length = sizeof size;
    if (getsockopt(self->fd, SOL_SOCKET, SO_NWRITE, &size, &length) == 0)
        return PyLong_FromLong(size);
#endif
    Py_RETURN_NONE;
}

static PyObject *
channel_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"fd", NULL};
    int fd;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "i:Channel", names, &fd))
        return NULL;
    Channel *self = (Channel *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->fd = fd;
    return (PyObject *)self;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)channel_send, METH_O, "Send some of these bytes; return how many the kernel took."},
    {"receive", (PyCFunction)channel_receive, METH_NOARGS, "Return what came, b'' at the end, None if there is nothing."},
    {"unsent", (PyCFunction)channel_unsent, METH_NOARGS, "Return how many bytes are not acknowledged, None if unknown."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject channel_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "pychat._channel.Channel",
    .tp_doc = "A connected socket, by its number: see pychat.kernel.Channel.",
    .tp_basicsize = sizeof(Channel),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = channel_new,
    .tp_methods = methods,
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pychat._channel",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__channel(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddType(made, &channel_type) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
