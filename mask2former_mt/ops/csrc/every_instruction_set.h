// Includes MASK2FORMER_MT_KERNELS once per instruction set, each in a namespace of its own. No
// include guard: a source includes it, after instruction_set.h, for its own kernels.

#define MASK2FORMER_MT_VECTOR_BYTES 16
namespace baseline {
#include MASK2FORMER_MT_KERNELS
}
#undef MASK2FORMER_MT_VECTOR_BYTES

#ifdef MASK2FORMER_MT_X86
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define MASK2FORMER_MT_VECTOR_BYTES 32
namespace avx2 {
#include MASK2FORMER_MT_KERNELS
}
#undef MASK2FORMER_MT_VECTOR_BYTES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq")
#define MASK2FORMER_MT_VECTOR_BYTES 64
namespace avx512 {
#include MASK2FORMER_MT_KERNELS
}
#undef MASK2FORMER_MT_VECTOR_BYTES
#pragma GCC pop_options
#endif
