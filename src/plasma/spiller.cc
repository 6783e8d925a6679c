#include "plasma/spiller.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <thread>
#include <unordered_map>
#include <utility>

#include "common/logging.h"
#include "common/thread_annotations.h"
#include "plasma/byte_size.h"
#include "plasma/spill_file.h"
#include "plasma/spill_folder.h"

namespace rayc::plasma {
namespace {

// What a reader does in one go: an urgent Read waits for no more than this.
constexpr uint64_t kReadStepBytes = 4U << 20;
constexpr int kReadThreads = 2;

// A file's place. The folders outlive the threads.
struct FilePlace {
  const SpillFolder* folder = nullptr;
  uint64_t file = 0;
};

struct WriteJob {
  uint64_t ticket = 0;
  std::vector<Spiller::Extent> extents;
};

struct WriteOutcome {
  Status status;
  FilePlace place;
  uint64_t offset = 0;     // of the first extent
  uint64_t open_file = 0;  // the one that the next Write may go on in; 0: none
};

// Readers take steps of it in turn.
struct ReadJob {
  uint64_t ticket = 0;
  FilePlace place;
  uint64_t file_offset = 0;
  uint64_t bytes = 0;
  uint64_t arena_offset = 0;
  // Guarded by the Spiller's mutex.
  uint64_t taken = 0;
  int running = 0;
  Status status;
};

// The file that is written to, and where the next one goes. Of the writing thread.
class FileWriter {
 public:
  FileWriter(std::shared_ptr<const Arena> arena, const Spiller::Options& options,
             const std::vector<std::unique_ptr<SpillFolder>>& folders)
      : options_(options), folders_(folders), copier_(std::move(arena)) {}

  WriteOutcome Write(const std::vector<Spiller::Extent>& extents);
  void Remove(const FilePlace& place);

 private:
  bool TryOpenFile(const std::vector<Spiller::Extent>& extents, uint64_t bytes);
  Status TryNewFile(const SpillFolder& folder, const std::vector<Spiller::Extent>& extents,
                    uint64_t bytes);
  WriteOutcome Written(uint64_t bytes);
  void CloseFile();

  const Spiller::Options& options_;
  const std::vector<std::unique_ptr<SpillFolder>>& folders_;
  SpillCopier copier_;
  size_t next_folder_ = 0;
  uint64_t last_file_ = 0;
  FilePlace open_;
  UniqueFd open_fd_;
  uint64_t open_bytes_ = 0;
};

WriteOutcome FileWriter::Write(const std::vector<Spiller::Extent>& extents) {
  uint64_t bytes = 0;
  for (const Spiller::Extent& extent : extents) {
    bytes += extent.bytes;
  }
  if (open_.file != 0) {
    if (TryOpenFile(extents, bytes)) {
      return Written(bytes);
    }
    CloseFile();
  }
  std::string reasons;
  bool all_full = true;
  for (size_t i = 0; i < folders_.size(); ++i) {
    const SpillFolder& folder = *folders_[next_folder_];
    next_folder_ = (next_folder_ + 1) % folders_.size();
    const Status status = TryNewFile(folder, extents, bytes);
    if (status.ok()) {
      return Written(bytes);
    }
    all_full = all_full && status.code() == StatusCode::kOutOfDisk;
    reasons += "; " + folder.path() + ": " + status.message();
  }
  if (folders_.empty()) {
    all_full = false;
    reasons = "; there is no folder to spill to";
  }
  WriteOutcome outcome;
  outcome.status = {all_full ? StatusCode::kOutOfDisk : StatusCode::kIOError,
                    "cannot spill " + FormatBytes(bytes) + reasons};
  return outcome;
}

// On failure the file keeps what it had.
bool FileWriter::TryOpenFile(const std::vector<Spiller::Extent>& extents, uint64_t bytes) {
  if (!open_.folder->CheckRoom(bytes, options_.disk_full_fraction).ok()) {
    return false;
  }
  const Status status = copier_.Write(extents, open_fd_.get(), open_bytes_);
  if (status.ok()) {
    return true;
  }
  RAYC_LOG(kWarning) << "spilling to " << open_.folder->PathOf(open_.file) << ": " << status;
  if (::ftruncate(open_fd_.get(), static_cast<off_t>(open_bytes_)) != 0) {
    RAYC_LOG(kWarning) << "cannot cut " << open_.folder->PathOf(open_.file) << ": "
                       << std::strerror(errno);
  }
  return false;
}

Status FileWriter::TryNewFile(const SpillFolder& folder,
                              const std::vector<Spiller::Extent>& extents, uint64_t bytes) {
  RAYC_RETURN_NOT_OK(folder.CheckRoom(bytes, options_.disk_full_fraction));
  const uint64_t file = ++last_file_;
  Result<UniqueFd> fd = folder.Create(file);
  if (!fd) {
    return fd.error();
  }
  Status status = copier_.Write(extents, fd->get(), 0);
  if (!status.ok()) {
    Remove({&folder, file});
    return status;
  }
  open_ = {&folder, file};
  open_fd_ = std::move(*fd);
  open_bytes_ = 0;
  return Status::Ok();
}

WriteOutcome FileWriter::Written(uint64_t bytes) {
  WriteOutcome outcome;
  outcome.place = open_;
  outcome.offset = open_bytes_;
  open_bytes_ += bytes;
  if (open_bytes_ >= options_.file_bytes) {
    CloseFile();
  }
  outcome.open_file = open_.file;
  return outcome;
}

void FileWriter::CloseFile() {
  open_ = {};
  open_fd_.Reset();
}

void FileWriter::Remove(const FilePlace& place) {
  if (place.file == open_.file) {
    CloseFile();
  }
  if (const Status status = place.folder->Remove(place.file); !status.ok()) {
    RAYC_LOG(kWarning) << status;
  }
}

// A thread that runs no signal handlers: those are the main thread's. Also, a file that would grow
// beyond the process's limit is then an error like others, not a SIGXFSZ.
template <typename Function>
std::thread StartThread(const char* name, Function function) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(function));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(thread.native_handle(), name);
  return thread;
}

}  // namespace

struct Spiller::Impl {
  Impl(EventLoop& loop_arg, std::shared_ptr<const Arena> arena_arg, const Options& options_arg)
      : loop(loop_arg), arena(std::move(arena_arg)), options(options_arg) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // ---- Loop
  struct File {
    FilePlace place;
    uint64_t objects = 0;
    uint64_t reads = 0;  // not answered yet
  };
  struct PendingWrite {
    std::vector<Extent> extents;
    WrittenCallback done;
  };
  struct PendingRead {
    uint64_t file = 0;
    ReadCallback done;
  };

  Status Start();
  void Write(std::vector<Extent> extents, WrittenCallback done);
  void Read(const SpillLocation& location, uint64_t offset, bool urgent, ReadCallback done);
  void Forget(const SpillLocation& location);
  void OnWritten(uint64_t ticket, const WriteOutcome& outcome);
  void OnRead(uint64_t ticket, const Status& status);
  void RemoveIfUnused(uint64_t id);
  bool Holds(const std::vector<Extent>& extents) const;

  EventLoop& loop;
  const std::shared_ptr<const Arena> arena;
  const Options& options;
  std::vector<std::unique_ptr<SpillFolder>> folders;  // unchanged once the threads run
  std::unordered_map<uint64_t, File> files;           // those with objects, or with Reads under way
  uint64_t live_bytes = 0;
  uint64_t open_file = 0;  // as the last answer of the writing thread says
  uint64_t last_ticket = 0;
  std::unordered_map<uint64_t, PendingWrite> pending_writes;  // by ticket
  std::unordered_map<uint64_t, PendingRead> pending_reads;
  std::thread write_thread;
  std::vector<std::thread> read_threads;

  // ---- Any thread
  // Runs it on the loop, unless this is gone by then.
  template <typename Function>
  void Post(Function function) {
    loop.Post([there = std::weak_ptr<const bool>(there_), function = std::move(function)] {
      if (!there.expired()) {
        function();
      }
    });
  }
  const std::shared_ptr<const bool> there_ = std::make_shared<const bool>(true);

  // ---- Threads
  void RunWriter();
  void RunReader();

  Mutex mutex;
  std::condition_variable write_wanted;
  std::condition_variable read_wanted;
  bool stopping RAYC_GUARDED_BY(mutex) = false;
  std::deque<WriteJob> writes RAYC_GUARDED_BY(mutex);
  std::deque<FilePlace> removals RAYC_GUARDED_BY(mutex);  // before writes: they make room
  std::deque<std::shared_ptr<ReadJob>> urgent_reads RAYC_GUARDED_BY(mutex);
  std::deque<std::shared_ptr<ReadJob>> reads RAYC_GUARDED_BY(mutex);
};

Spiller::Impl::~Impl() {
  {
    const MutexLock lock(mutex);
    stopping = true;
  }
  write_wanted.notify_all();
  read_wanted.notify_all();
  if (write_thread.joinable()) {
    write_thread.join();
  }
  for (std::thread& thread : read_threads) {
    thread.join();
  }
}

Status Spiller::Impl::Start() {
  std::vector<std::unique_ptr<SpillFolder>> made;
  for (const std::string& parent : options.folders) {
    auto folder = SpillFolder::Make(parent);
    if (!folder) {
      return folder.error();
    }
    made.push_back(std::move(*folder));
  }
  folders = std::move(made);
  return Status::Ok();
}

bool Spiller::Impl::Holds(const std::vector<Extent>& extents) const {
  return std::all_of(extents.begin(), extents.end(), [this](const Extent& extent) {
    return arena->Holds(extent.offset, extent.bytes);
  });
}

void Spiller::Impl::Write(std::vector<Extent> extents, WrittenCallback done) {
  if (extents.empty() || !Holds(extents)) {
    Post([done = std::move(done), empty = extents.empty()] {
      if (empty) {
        done(std::vector<SpillLocation>());
      } else {
        done(Err(Status::InvalidArgument("what is to be spilled is not in the arena")));
      }
    });
    return;
  }
  if (!write_thread.joinable()) {
    write_thread = StartThread("rayc-spill-out", [this] { RunWriter(); });
  }
  const uint64_t ticket = ++last_ticket;
  pending_writes[ticket] = {extents, std::move(done)};
  {
    const MutexLock lock(mutex);
    writes.push_back({ticket, std::move(extents)});
  }
  write_wanted.notify_one();
}

void Spiller::Impl::OnWritten(uint64_t ticket, const WriteOutcome& outcome) {
  auto node = pending_writes.extract(ticket);
  PendingWrite& write = node.mapped();
  std::vector<SpillLocation> locations;
  if (outcome.status.ok()) {
    File& file = files[outcome.place.file];
    file.place = outcome.place;
    file.objects += write.extents.size();
    uint64_t offset = outcome.offset;
    for (const Extent& extent : write.extents) {
      locations.push_back({outcome.place.file, offset, extent.bytes});
      offset += extent.bytes;
      live_bytes += extent.bytes;
    }
  }
  // It may have been kept only for the sake of this Write, or of others that are answered now.
  const uint64_t open_before = std::exchange(open_file, outcome.open_file);
  RemoveIfUnused(open_before);
  RemoveIfUnused(open_file);
  // Last: it may destroy the Spiller.
  if (outcome.status.ok()) {
    write.done(std::move(locations));
  } else {
    write.done(Err(outcome.status));
  }
}

void Spiller::Impl::Read(const SpillLocation& location, uint64_t offset, bool urgent,
                         ReadCallback done) {
  const auto file = files.find(location.file);
  if (file == files.end() || !arena->Holds(offset, location.bytes)) {
    Post([done = std::move(done), known = file != files.end()] {
      done(known ? Status::InvalidArgument("there is no such place in the arena")
                 : Status::NotFound("there is no such spilled object"));
    });
    return;
  }
  while (read_threads.size() < kReadThreads) {
    read_threads.push_back(StartThread("rayc-spill-in", [this] { RunReader(); }));
  }
  ++file->second.reads;
  auto job = std::make_shared<ReadJob>();
  job->ticket = ++last_ticket;
  job->place = file->second.place;
  job->file_offset = location.offset;
  job->bytes = location.bytes;
  job->arena_offset = offset;
  pending_reads[job->ticket] = {location.file, std::move(done)};
  {
    const MutexLock lock(mutex);
    (urgent ? urgent_reads : reads).push_back(std::move(job));
  }
  if (location.bytes > kReadStepBytes) {
    read_wanted.notify_all();
  } else {
    read_wanted.notify_one();
  }
}

void Spiller::Impl::OnRead(uint64_t ticket, const Status& status) {
  const auto node = pending_reads.extract(ticket);
  const PendingRead& read = node.mapped();
  --files[read.file].reads;
  RemoveIfUnused(read.file);
  read.done(status);  // last: it may destroy the Spiller
}

void Spiller::Impl::Forget(const SpillLocation& location) {
  const auto file = files.find(location.file);
  if (file == files.end() || file->second.objects == 0) {
    return;
  }
  --file->second.objects;
  live_bytes -= location.bytes;
  RemoveIfUnused(location.file);
}

void Spiller::Impl::RemoveIfUnused(uint64_t id) {
  const auto file = files.find(id);
  if (file == files.end() || file->second.objects > 0 || file->second.reads > 0) {
    return;
  }
  // The writing thread may be at it now.
  if (id == open_file && !pending_writes.empty()) {
    return;
  }
  if (id == open_file) {
    open_file = 0;
  }
  {
    const MutexLock lock(mutex);
    removals.push_back(file->second.place);
  }
  write_wanted.notify_one();
  files.erase(file);
}

void Spiller::Impl::RunWriter() {
  FileWriter writer(arena, options, folders);
  MutexLock lock(mutex);
  while (!stopping) {
    if (!removals.empty()) {
      const FilePlace place = removals.front();
      removals.pop_front();
      lock.Unlock();
      writer.Remove(place);
      lock.Lock();
    } else if (!writes.empty()) {
      const WriteJob job = std::move(writes.front());
      writes.pop_front();
      lock.Unlock();
      Post([this, ticket = job.ticket, outcome = writer.Write(job.extents)] {
        OnWritten(ticket, outcome);
      });
      lock.Lock();
    } else {
      write_wanted.wait(lock.native());
    }
  }
}

void Spiller::Impl::RunReader() {
  SpillCopier copier(arena);
  FilePlace place;  // of the file that is open here; none while there is nothing to do
  UniqueFd fd;
  MutexLock lock(mutex);
  while (!stopping) {
    if (urgent_reads.empty() && reads.empty()) {
      place = {};
      fd.Reset();
      read_wanted.wait(lock.native());
      continue;
    }
    auto& queue = urgent_reads.empty() ? reads : urgent_reads;
    const std::shared_ptr<ReadJob> job = queue.front();
    const uint64_t begin = job->taken;
    const uint64_t step = std::min(kReadStepBytes, job->bytes - begin);
    job->taken += step;
    ++job->running;
    if (job->taken == job->bytes) {
      queue.pop_front();
    }
    Status status = job->status;  // what another step has met with is enough
    lock.Unlock();
    if (status.ok() && place.file != job->place.file) {
      auto opened = job->place.folder->Open(job->place.file);
      fd = opened ? std::move(*opened) : UniqueFd();
      place = opened ? job->place : FilePlace();
      status = opened ? Status::Ok() : opened.error();
    }
    if (status.ok()) {
      status = copier.Read(fd.get(), job->file_offset + begin, step, job->arena_offset + begin);
      if (!status.ok()) {
        status = {status.code(),
                  "cannot read " + place.folder->PathOf(place.file) + ": " + status.message()};
      }
    }
    lock.Lock();
    if (job->status.ok()) {
      job->status = status;
    }
    if (--job->running == 0 && job->taken == job->bytes) {
      Post([this, ticket = job->ticket, status = job->status] { OnRead(ticket, status); });
    }
  }
}

Spiller::Spiller(EventLoop& loop, std::shared_ptr<const Arena> arena, Options options)
    : loop_(loop),
      options_(std::move(options)),
      impl_(std::make_unique<Impl>(loop_, std::move(arena), options_)) {}

Spiller::~Spiller() = default;

Status Spiller::Start() { return impl_->Start(); }

void Spiller::Write(std::vector<Extent> extents, WrittenCallback done) {
  impl_->Write(std::move(extents), std::move(done));
}

void Spiller::Read(const SpillLocation& location, uint64_t offset, bool urgent, ReadCallback done) {
  impl_->Read(location, offset, urgent, std::move(done));
}

void Spiller::Forget(const SpillLocation& location) { impl_->Forget(location); }

uint64_t Spiller::live_bytes() const { return impl_->live_bytes; }

uint64_t Spiller::file_count() const { return impl_->files.size(); }

}  // namespace rayc::plasma
