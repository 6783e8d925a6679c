# src/common/function_descriptor.h, as Cython sees it.
from libcpp cimport bool as c_bool
from libcpp.string cimport string


cdef extern from "common/function_descriptor.h" namespace "rayc" nogil:
    cdef cppclass CFunctionDescriptor "rayc::FunctionDescriptor":
        CFunctionDescriptor()
        string module_name
        string class_name
        string function_name
        string function_hash
        c_bool IsActorMethod() const
        c_bool operator==(const CFunctionDescriptor&) const
