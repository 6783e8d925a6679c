// Clang's thread-safety annotations, and a mutex that carries them. Other compilers see nothing.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define RAYC_TSA(x) __attribute__((x))
#else
#define RAYC_TSA(x)
#endif

#define RAYC_CAPABILITY(name) RAYC_TSA(capability(name))
#define RAYC_SCOPED_CAPABILITY RAYC_TSA(scoped_lockable)
#define RAYC_GUARDED_BY(mutex) RAYC_TSA(guarded_by(mutex))
#define RAYC_REQUIRES(...) RAYC_TSA(requires_capability(__VA_ARGS__))
#define RAYC_EXCLUDES(...) RAYC_TSA(locks_excluded(__VA_ARGS__))
#define RAYC_ACQUIRE(...) RAYC_TSA(acquire_capability(__VA_ARGS__))
#define RAYC_RELEASE(...) RAYC_TSA(release_capability(__VA_ARGS__))
#define RAYC_NO_TSA RAYC_TSA(no_thread_safety_analysis)

namespace rayc {

class RAYC_CAPABILITY("mutex") Mutex {
 public:
  void Lock() RAYC_ACQUIRE() { mutex_.lock(); }
  void Unlock() RAYC_RELEASE() { mutex_.unlock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

// Scoped; Unlock/Lock in between are allowed, and Wait* release it while waiting.
class RAYC_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) RAYC_ACQUIRE(mutex) : lock_(mutex.native()) {}
  ~MutexLock() RAYC_RELEASE() {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  void Unlock() RAYC_RELEASE() { lock_.unlock(); }
  void Lock() RAYC_ACQUIRE() { lock_.lock(); }
  std::unique_lock<std::mutex>& native() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace rayc
