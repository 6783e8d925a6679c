# PythonFunctionDescriptor: names the code that a task runs (src/common/function_descriptor.h).

cdef object shake_128 = None


cdef str module_name_of(object code):
    """The name of the module that defines it; for a script, the name of its file."""
    name = getattr(code, "__module__", None) or ""
    if name == "__main__":
        path = getattr(sys.modules.get("__main__"), "__file__", None)
        if path:
            return os.path.splitext(os.path.basename(path))[0]
    return name


@cython.final
cdef class PythonFunctionDescriptor:
    """Names the code that a task runs: equal if and only if all four parts are."""

    def __init__(
        self,
        str module_name,
        str function_name,
        str class_name="",
        str function_source_hash="",
    ):
        self._descriptor.module_name = to_string(module_name)
        self._descriptor.function_name = to_string(function_name)
        self._descriptor.class_name = to_string(class_name)
        self._descriptor.function_hash = to_string(function_source_hash)

    @classmethod
    def from_function(cls, function, str function_uuid):
        """Name a function; `function_uuid` tells it from others of the same name."""
        name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
        return cls(module_name_of(function), name or repr(function), "", function_uuid)

    @classmethod
    def from_class(cls, target_class):
        """Name the creation of a class's actors."""
        unique = os.urandom(16).hex()
        return cls(module_name_of(target_class), "__init__", target_class.__qualname__, unique)

    @classmethod
    def from_message(cls, bytes message not None):
        """Read it from a FunctionDescriptor message."""
        cdef CFunctionDescriptor descriptor
        if not UnpackDescriptor(view_of(message), &descriptor):
            raise ValueError("this is no FunctionDescriptor message")
        return descriptor_of(descriptor)

    def to_message(self):
        """Return it as a FunctionDescriptor message."""
        return to_bytes(PackDescriptor(self._descriptor))

    @property
    def module_name(self):
        """The module that defines the code."""
        return to_str(self._descriptor.module_name)

    @property
    def class_name(self):
        """The qualified name of the actor class; "" for a function."""
        return to_str(self._descriptor.class_name)

    @property
    def function_name(self):
        """The qualified name of the function, or the name of the method."""
        return to_str(self._descriptor.function_name)

    @property
    def function_hash(self):
        """What tells it from others of the same name; "" for methods."""
        return to_str(self._descriptor.function_hash)

    @property
    def function_id(self):
        """Its id in the function table: a digest of its four parts."""
        global shake_128
        if self._function_id is None:
            if shake_128 is None:
                try:  # hashlib's own, without the rest of it (OpenSSL)
                    from _sha3 import shake_128
                except ImportError:
                    from hashlib import shake_128
            digest = shake_128()
            for part in (
                self.module_name,
                self.function_name,
                self.class_name,
                self.function_hash,
            ):
                data = part.encode("utf-8", "surrogateescape")
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
            self._function_id = FunctionID(digest.digest(28))
        return self._function_id

    @property
    def repr(self):
        """The qualified name, for people."""
        parts = (self.module_name, self.class_name, self.function_name)
        return ".".join([part for part in parts if part])

    def to_dict(self):
        """Return its parts."""
        return {
            "module_name": self.module_name,
            "class_name": self.class_name,
            "function_name": self.function_name,
            "function_hash": self.function_hash,
        }

    def is_actor_method(self):
        """Return whether it names a method (or the constructor) of an actor class."""
        return self._descriptor.IsActorMethod()

    def __eq__(self, other):
        if type(other) is not PythonFunctionDescriptor:
            return NotImplemented
        return self._descriptor == (<PythonFunctionDescriptor>other)._descriptor

    def __hash__(self):
        cdef string key
        if self._hash is None:
            DescriptorKey(self._descriptor, &key)
            self._hash = hash(to_bytes(key))
        return self._hash

    def __repr__(self):
        return f"PythonFunctionDescriptor({self.repr})"

    def __reduce__(self):
        return PythonFunctionDescriptor, (
            self.module_name,
            self.function_name,
            self.class_name,
            self.function_hash,
        )


cdef PythonFunctionDescriptor descriptor_of(const CFunctionDescriptor& descriptor):
    cdef PythonFunctionDescriptor made = PythonFunctionDescriptor.__new__(PythonFunctionDescriptor)
    made._descriptor = descriptor
    return made


cdef str short_name(str qualified):
    """The name that people use: without the functions around its definition."""
    return qualified.rpartition("<locals>.")[2]


cdef str call_name_of(PythonFunctionDescriptor descriptor):
    """What people call it: "f", "Class.method"."""
    name = short_name(descriptor.function_name)
    class_name = short_name(descriptor.class_name)
    return f"{class_name}.{name}" if class_name else name
