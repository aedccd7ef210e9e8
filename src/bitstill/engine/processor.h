/* The instruction sets that a processor may have, and how code is compiled for them. */

#pragma once

#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define X86 1
#include <immintrin.h>
#define TARGET_AVX2 __attribute__((target("avx2")))
/* With VNNI, the products of bytes. */
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#endif

enum { PORTABLE = 1, AVX2 = 2, AVX512 = 4, AMX = 8 }; /* AMX runs only deployed students */

/* The paths that this processor can run, except AMX, which kernel.c adds. */
static inline int processor_paths(void) {
  int paths = PORTABLE;
#ifdef X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) paths |= AVX2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    paths |= AVX512;
#endif
  return paths;
}
