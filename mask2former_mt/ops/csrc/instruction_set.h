// Which instruction set this machine has, of those that kernels are compiled for.

#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MASK2FORMER_MT_X86 1
#endif

namespace mask2former_mt {

enum class InstructionSet { baseline, avx2, avx512 };

inline InstructionSet instruction_set() {
#ifdef MASK2FORMER_MT_X86
  static const InstructionSet best = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
      return InstructionSet::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return InstructionSet::avx2;
    return InstructionSet::baseline;
  }();
  return best;
#else
  return InstructionSet::baseline;
#endif
}

}  // namespace mask2former_mt

// A comma inside a macro's argument.
#define MASK2FORMER_MT_COMMA ,

// Calls `function` of the namespace that this machine's instruction set has.
#ifdef MASK2FORMER_MT_X86
#define MASK2FORMER_MT_DISPATCH(function, ...)                         \
  switch (instruction_set()) {                                         \
    case InstructionSet::avx512: avx512::function(__VA_ARGS__); break; \
    case InstructionSet::avx2: avx2::function(__VA_ARGS__); break;     \
    default: baseline::function(__VA_ARGS__);                          \
  }
#else
#define MASK2FORMER_MT_DISPATCH(function, ...) baseline::function(__VA_ARGS__);
#endif
