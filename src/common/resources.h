// Quantities of logical resources in fixed point (1/10,000), and sets of them. Values; no IO.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace rayc {

// One unit of a resource is kResourceUnit. No double takes part in any accounting.
inline constexpr int64_t kResourceUnit = 10'000;

int64_t ToFixedPoint(double amount);
double FromFixedPoint(int64_t amount);

inline constexpr std::string_view kCpu = "CPU";
inline constexpr std::string_view kGpu = "GPU";

// Names with non-zero amounts. Ordered, so that equal sets have equal text.
class ResourceSet {
 public:
  ResourceSet() = default;
  explicit ResourceSet(std::map<std::string, int64_t> amounts);

  int64_t Get(std::string_view name) const;
  void Set(std::string_view name, int64_t amount);  // 0 removes the name
  bool IsEmpty() const { return amounts_.empty(); }
  // Whether each amount asked for in `request` is there. Amounts here may be negative.
  bool Covers(const ResourceSet& request) const;
  void Add(const ResourceSet& other);
  void Subtract(const ResourceSet& other);  // may leave negative amounts
  // The parts of `request` that are not covered: "GPU: 2 asked, 0 here".
  std::string DescribeShortfall(const ResourceSet& request) const;
  std::string ToString() const;  // "CPU:1, GPU:0.5"
  const std::map<std::string, int64_t, std::less<>>& amounts() const { return amounts_; }

  friend bool operator==(const ResourceSet& a, const ResourceSet& b) {
    return a.amounts_ == b.amounts_;
  }

 private:
  std::map<std::string, int64_t, std::less<>> amounts_;
};

std::string FormatAmount(int64_t amount);  // "1", "0.5"

}  // namespace rayc
