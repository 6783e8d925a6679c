# src/common/ids.h, as Cython sees it.
from libc.stdint cimport uint32_t
from libcpp cimport bool as c_bool
from libcpp.string cimport string


cdef extern from "common/ids.h" namespace "rayc" nogil:
    cdef cppclass CUniqueId "rayc::UniqueId":
        CUniqueId()
        @staticmethod
        CUniqueId FromRandom()
        const char* data() const

    cdef cppclass CNodeId "rayc::NodeId":
        CNodeId()
        c_bool IsNil() const
        const unsigned char* data() const

    cdef cppclass CWorkerId "rayc::WorkerId":
        CWorkerId()
        c_bool IsNil() const
        c_bool operator==(const CWorkerId&) const
        const unsigned char* data() const
        size_t Hash() const

    cdef cppclass CJobId "rayc::JobId":
        CJobId()
        @staticmethod
        CJobId FromInt(uint32_t)
        uint32_t ToInt() const
        const unsigned char* data() const

    cdef cppclass CActorId "rayc::ActorId":
        CActorId()
        @staticmethod
        CActorId Of(const CJobId&)
        CJobId Job() const
        c_bool IsNil() const
        const unsigned char* data() const

    cdef cppclass CTaskId "rayc::TaskId":
        CTaskId()
        CActorId Actor() const
        CJobId Job() const
        const unsigned char* data() const

    cdef cppclass CObjectId "rayc::ObjectId":
        CObjectId()
        CTaskId Task() const
        uint32_t Index() const
        c_bool IsNil() const
        c_bool IsActorHandle() const
        c_bool operator==(const CObjectId&) const
        size_t Hash() const
        string Hex() const
        const unsigned char* data() const

    cdef cppclass CPlacementGroupId "rayc::PlacementGroupId":
        CPlacementGroupId()
        @staticmethod
        CPlacementGroupId Of(const CJobId&)
        CJobId Job() const
        const unsigned char* data() const

    void FillRandom(void*, size_t)
