#include "common/resources.h"

#include <cmath>
#include <cstdio>

namespace rayc {

int64_t ToFixedPoint(double amount) {
  return static_cast<int64_t>(std::llround(amount * static_cast<double>(kResourceUnit)));
}

double FromFixedPoint(int64_t amount) {
  return static_cast<double>(amount) / static_cast<double>(kResourceUnit);
}

std::string FormatAmount(int64_t amount) {
  if (amount % kResourceUnit == 0) {
    return std::to_string(amount / kResourceUnit);
  }
  char text[48];
  std::snprintf(text, sizeof(text), "%.4f", FromFixedPoint(amount));
  std::string trimmed(text);
  trimmed.erase(trimmed.find_last_not_of('0') + 1);
  return trimmed;
}

ResourceSet::ResourceSet(std::map<std::string, int64_t> amounts) {
  while (!amounts.empty()) {
    auto entry = amounts.extract(amounts.begin());
    if (entry.mapped() != 0) {
      amounts_.insert(std::move(entry));
    }
  }
}

int64_t ResourceSet::Get(std::string_view name) const {
  const auto it = amounts_.find(name);
  return it == amounts_.end() ? 0 : it->second;
}

void ResourceSet::Set(std::string_view name, int64_t amount) {
  const auto it = amounts_.find(name);
  if (it == amounts_.end()) {
    if (amount != 0) {
      amounts_.emplace(std::string(name), amount);
    }
  } else if (amount == 0) {
    amounts_.erase(it);
  } else {
    it->second = amount;
  }
}

bool ResourceSet::Covers(const ResourceSet& request) const {
  for (const auto& [name, amount] : request.amounts_) {
    if (amount > 0 && Get(name) < amount) {
      return false;
    }
  }
  return true;
}

void ResourceSet::Add(const ResourceSet& other) {
  for (const auto& [name, amount] : other.amounts_) {
    Set(name, Get(name) + amount);
  }
}

void ResourceSet::Subtract(const ResourceSet& other) {
  for (const auto& [name, amount] : other.amounts_) {
    Set(name, Get(name) - amount);
  }
}

std::string ResourceSet::DescribeShortfall(const ResourceSet& request) const {
  std::string text;
  for (const auto& [name, amount] : request.amounts_) {
    if (amount > 0 && Get(name) < amount) {
      text += (text.empty() ? "" : "; ") + name + ": " + FormatAmount(amount) + " asked, " +
              FormatAmount(Get(name)) + " there";
    }
  }
  return text;
}

std::string ResourceSet::ToString() const {
  std::string text;
  for (const auto& [name, amount] : amounts_) {
    text += (text.empty() ? "" : ", ") + name + ":" + FormatAmount(amount);
  }
  return text;
}

}  // namespace rayc
