// rayc's own encoding of plain values: None, bool, int, float, str, bytes, and small tuples, lists
// and dicts of them. What comes out is exactly what went in, or Encode refuses and pickle takes
// over. Any thread that holds the GIL; runs no Python code.
//
//   N  T  F                 None, True, False
//   c <i8>  i <i64>         int
//   f <8 bytes>             float, bit by bit
//   s <u8 n> <n bytes>      str in UTF-8      S <u32 n> <n bytes>
//   b <u8 n> <n bytes>      bytes             B <u32 n> <n bytes>
//   ( [ {  <u32 n>          tuple, list, dict of n items (dict: key, value, ...)
//
// Little endian, as everything of rayc.
#pragma once

#include <Python.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace rayc::python {

class PlainEncoder {
 public:
  static constexpr size_t kBytesMax = 64UL << 10;
  static constexpr int kDepthMax = 16;
  static constexpr int kSharedMax = 32;

  // False if the value is not plain, or too large; no Python error is set then either.
  bool Encode(PyObject* value) {
    out_.clear();
    shared_ = 0;
    return Write(value, 0);
  }
  // Valid until the next Encode.
  std::string_view bytes() const { return out_; }

 private:
  void PutByte(char byte) { out_.push_back(byte); }
  void PutRaw(const void* data, size_t bytes) {
    out_.append(static_cast<const char*>(data), bytes);
  }
  bool HasRoom(size_t bytes) const { return out_.size() + bytes <= kBytesMax; }

  bool WriteText(char short_tag, char long_tag, const char* data, size_t bytes) {
    if (!HasRoom(bytes + 5)) {
      return false;
    }
    if (bytes < 256) {
      PutByte(short_tag);
      PutByte(static_cast<char>(bytes));
    } else {
      const auto count = static_cast<uint32_t>(bytes);
      PutByte(long_tag);
      PutRaw(&count, sizeof(count));
    }
    PutRaw(data, bytes);
    return true;
  }

  bool WriteInt(PyObject* value) {
    int overflow = 0;
    const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
      return false;
    }
    if (number >= INT8_MIN && number <= INT8_MAX) {
      PutByte('c');
      PutByte(static_cast<char>(number));
    } else {
      PutByte('i');
      PutRaw(&number, sizeof(number));
    }
    return true;
  }

  bool WriteStr(PyObject* value) {
    if (PyUnicode_IS_COMPACT_ASCII(value)) {
      return WriteText('s', 'S', reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(value)),
                       static_cast<size_t>(PyUnicode_GET_LENGTH(value)));
    }
    if (!HasRoom(static_cast<size_t>(PyUnicode_GET_LENGTH(value)))) {
      return false;
    }
    Py_ssize_t bytes = 0;
    const char* text = PyUnicode_AsUTF8AndSize(value, &bytes);
    if (text == nullptr) {  // a lone surrogate
      PyErr_Clear();
      return false;
    }
    return WriteText('s', 'S', text, static_cast<size_t>(bytes));
  }

  // Two paths to one container (or a cycle) must come out as one object: not here, then. A
  // container with a single reference is reached by a single path.
  bool IsReachedOnce(PyObject* container) {
    if (Py_REFCNT(container) == 1) {
      return true;
    }
    for (int i = 0; i < shared_; ++i) {
      if (seen_[i] == container) {
        return false;
      }
    }
    if (shared_ == kSharedMax) {
      return false;
    }
    seen_[shared_++] = container;
    return true;
  }

  bool BeginContainer(char tag, PyObject* container, Py_ssize_t count, int depth) {
    if (depth >= kDepthMax || !HasRoom(static_cast<size_t>(count) + 5) ||
        (count > 0 && !IsReachedOnce(container))) {
      return false;
    }
    const auto count32 = static_cast<uint32_t>(count);
    PutByte(tag);
    PutRaw(&count32, sizeof(count32));
    return true;
  }

  bool Write(PyObject* value, int depth) {
    if (!HasRoom(9)) {
      return false;
    }
    if (value == Py_None) {
      PutByte('N');
      return true;
    }
    PyTypeObject* const type = Py_TYPE(value);
    if (type == &PyBool_Type) {
      PutByte(value == Py_True ? 'T' : 'F');
      return true;
    }
    if (type == &PyLong_Type) {
      return WriteInt(value);
    }
    if (type == &PyFloat_Type) {
      const double number = PyFloat_AS_DOUBLE(value);
      PutByte('f');
      PutRaw(&number, sizeof(number));
      return true;
    }
    if (type == &PyUnicode_Type) {
      return WriteStr(value);
    }
    if (type == &PyBytes_Type) {
      return WriteText('b', 'B', PyBytes_AS_STRING(value),
                       static_cast<size_t>(PyBytes_GET_SIZE(value)));
    }
    if (type == &PyTuple_Type) {
      const Py_ssize_t count = PyTuple_GET_SIZE(value);
      if (!BeginContainer('(', value, count, depth)) {
        return false;
      }
      for (Py_ssize_t i = 0; i < count; ++i) {
        if (!Write(PyTuple_GET_ITEM(value, i), depth + 1)) {
          return false;
        }
      }
      return true;
    }
    if (type == &PyList_Type) {
      const Py_ssize_t count = PyList_GET_SIZE(value);
      if (!BeginContainer('[', value, count, depth)) {
        return false;
      }
      for (Py_ssize_t i = 0; i < count; ++i) {
        if (!Write(PyList_GET_ITEM(value, i), depth + 1)) {
          return false;
        }
      }
      return true;
    }
    if (type == &PyDict_Type) {
      if (!BeginContainer('{', value, PyDict_GET_SIZE(value), depth)) {
        return false;
      }
      Py_ssize_t position = 0;
      PyObject* key = nullptr;
      PyObject* item = nullptr;
      while (PyDict_Next(value, &position, &key, &item) != 0) {
        if (!Write(key, depth + 1) || !Write(item, depth + 1)) {
          return false;
        }
      }
      return true;
    }
    return false;
  }

  std::string out_;
  PyObject* seen_[kSharedMax];
  int shared_ = 0;
};

class PlainDecoder {
 public:
  explicit PlainDecoder(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  // A new reference; null with a Python error (ValueError if the bytes are not of the encoding).
  PyObject* Decode() {
    PyObject* value = Read(0);
    if (value != nullptr && at_ != end_) {
      Py_DECREF(value);
      return Malformed();
    }
    return value;
  }

 private:
  static PyObject* Malformed() {
    if (PyErr_Occurred() == nullptr) {
      PyErr_SetString(PyExc_ValueError, "a stored value is malformed");
    }
    return nullptr;
  }
  size_t Left() const { return static_cast<size_t>(end_ - at_); }
  template <typename T>
  bool Take(T* value) {
    if (Left() < sizeof(T)) {
      return false;
    }
    std::memcpy(value, at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }
  template <typename Count>
  bool TakeText(const char** data, size_t* bytes) {
    Count count = 0;
    if (!Take(&count) || Left() < count) {
      return false;
    }
    *data = at_;
    *bytes = count;
    at_ += count;
    return true;
  }

  PyObject* ReadTuple(uint32_t count, int depth) {
    PyObject* tuple = PyTuple_New(count);
    for (uint32_t i = 0; tuple != nullptr && i < count; ++i) {
      PyObject* item = Read(depth + 1);
      if (item == nullptr) {
        Py_CLEAR(tuple);
        break;
      }
      PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
  }
  PyObject* ReadList(uint32_t count, int depth) {
    PyObject* list = PyList_New(count);
    for (uint32_t i = 0; list != nullptr && i < count; ++i) {
      PyObject* item = Read(depth + 1);
      if (item == nullptr) {
        Py_CLEAR(list);
        break;
      }
      PyList_SET_ITEM(list, i, item);
    }
    return list;
  }
  PyObject* ReadDict(uint32_t count, int depth) {
    PyObject* dict = PyDict_New();
    for (uint32_t i = 0; dict != nullptr && i < count; ++i) {
      PyObject* key = Read(depth + 1);
      PyObject* item = key == nullptr ? nullptr : Read(depth + 1);
      if (item == nullptr || PyDict_SetItem(dict, key, item) != 0) {
        Py_CLEAR(dict);
      }
      Py_XDECREF(key);
      Py_XDECREF(item);
    }
    return dict;
  }
  PyObject* ReadContainer(char tag, int depth) {
    uint32_t count = 0;
    // Each item takes a byte at least, so a wrong count cannot make us allocate much.
    if (depth >= PlainEncoder::kDepthMax || !Take(&count) || Left() < count) {
      return Malformed();
    }
    return tag == '(' ? ReadTuple(count, depth)
                      : (tag == '[' ? ReadList(count, depth) : ReadDict(count, depth));
  }

  PyObject* Read(int depth) {
    char tag = 0;
    if (!Take(&tag)) {
      return Malformed();
    }
    const char* data = nullptr;
    size_t bytes = 0;
    switch (tag) {
      case 'N':
        Py_RETURN_NONE;
      case 'T':
        Py_RETURN_TRUE;
      case 'F':
        Py_RETURN_FALSE;
      case 'c': {
        int8_t number = 0;
        return Take(&number) ? PyLong_FromLong(number) : Malformed();
      }
      case 'i': {
        int64_t number = 0;
        return Take(&number) ? PyLong_FromLongLong(number) : Malformed();
      }
      case 'f': {
        double number = 0;
        return Take(&number) ? PyFloat_FromDouble(number) : Malformed();
      }
      case 's':
      case 'S':
        if (!(tag == 's' ? TakeText<uint8_t>(&data, &bytes) : TakeText<uint32_t>(&data, &bytes))) {
          return Malformed();
        }
        return PyUnicode_DecodeUTF8(data, static_cast<Py_ssize_t>(bytes), nullptr);
      case 'b':
      case 'B':
        if (!(tag == 'b' ? TakeText<uint8_t>(&data, &bytes) : TakeText<uint32_t>(&data, &bytes))) {
          return Malformed();
        }
        return PyBytes_FromStringAndSize(data, static_cast<Py_ssize_t>(bytes));
      case '(':
      case '[':
      case '{':
        return ReadContainer(tag, depth);
      default:
        return Malformed();
    }
  }

  const char* at_;
  const char* const end_;
};

// The calling thread's encoder; keeps its buffer.
inline PlainEncoder& ThreadEncoder() {
  thread_local PlainEncoder encoder;
  return encoder;
}

inline PyObject* DecodePlain(std::string_view bytes) { return PlainDecoder(bytes).Decode(); }

}  // namespace rayc::python
