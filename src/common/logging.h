// Leveled logging and fatal checks. RAYC_LOG(kWarning) << "text"; thread-safe.
// Each process calls InitLogging once, in main() or when its CoreWorker is built; before that,
// messages of kWarning and above go to stderr. spdlog stays inside logging.cc.
#pragma once

#include <sstream>
#include <string>

namespace rayc {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kFatal = 4 };

// `component` names the process in each line. An empty `file` means stderr. The file is made with
// the first line that is written, so a quiet process leaves none; it rotates at 32 MiB, two
// backups.
void InitLogging(const std::string& component, LogLevel threshold, const std::string& file);
LogLevel ParseLogLevel(const std::string& text, LogLevel fallback);
bool LogEnabled(LogLevel level);
void WriteLog(LogLevel level, const char* file, int line, const std::string& text);

class LogMessage {
 public:
  LogMessage(LogLevel level, const char* file, int line)
      : level_(level), file_(file), line_(line) {}
  LogMessage(const LogMessage&) = delete;
  LogMessage& operator=(const LogMessage&) = delete;
  // A kFatal message aborts the process after it is written.
  ~LogMessage();
  std::ostream& stream() { return stream_; }

 private:
  const LogLevel level_;
  const char* const file_;
  const int line_;
  std::ostringstream stream_;
};

// Lets a macro turn an ostream expression into void in both arms of a conditional.
struct LogVoidify {
  void operator&(std::ostream& /*stream*/) const {}
};

}  // namespace rayc

#define RAYC_LOG(level)                        \
  !::rayc::LogEnabled(::rayc::LogLevel::level) \
      ? (void)0                                \
      : ::rayc::LogVoidify() &                 \
            ::rayc::LogMessage(::rayc::LogLevel::level, __FILE__, __LINE__).stream()

// What cannot happen unless rayc itself is wrong. Never on what a peer or a user sent.
#define RAYC_CHECK(condition)                                                         \
  __builtin_expect(static_cast<bool>(condition), 1)                                   \
      ? (void)0                                                                       \
      : ::rayc::LogVoidify() &                                                        \
            ::rayc::LogMessage(::rayc::LogLevel::kFatal, __FILE__, __LINE__).stream() \
                << "Check failed: " #condition " "

#ifdef NDEBUG
#define RAYC_DCHECK(condition) \
  while (false) RAYC_CHECK(condition)
#else
#define RAYC_DCHECK(condition) RAYC_CHECK(condition)
#endif
