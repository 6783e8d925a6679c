# Between Python's text and C++ strings.

cdef inline string to_string(object text) except *:
    """A C++ string of a str (UTF-8) or bytes."""
    cdef bytes data
    if type(text) is bytes:
        data = <bytes>text
    else:
        data = (<str?>text).encode("utf-8", "surrogateescape")
    return string(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline string_view view_of(bytes data):
    """Valid as long as `data` is."""
    return string_view(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline str to_str(const string& text):
    return (<bytes>PyBytes_FromStringAndSize(text.data(), text.size())).decode(
        "utf-8", "surrogateescape"
    )


cdef inline bytes to_bytes(const string& data):
    return PyBytes_FromStringAndSize(data.data(), data.size())
