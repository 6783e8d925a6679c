// Names the code that a task runs. A value; equal iff all four parts are.
#pragma once

#include <string>

namespace rayc {

struct FunctionDescriptor {
  std::string module_name;
  std::string class_name;     // "" for a function
  std::string function_name;  // "__init__" for an actor's creation
  // Random per decorated function or class, not a hash of its source; "" for actor methods.
  std::string function_hash;

  bool IsActorMethod() const { return !class_name.empty(); }
  // What people call it: "f", "Cls.method".
  std::string CallName() const {
    return class_name.empty() ? function_name : class_name + "." + function_name;
  }
  friend bool operator==(const FunctionDescriptor& a, const FunctionDescriptor& b) = default;
};

}  // namespace rayc
