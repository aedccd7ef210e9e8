/* The gradients of weights and features, compiled once more for AVX-512, on vectors of 16 numbers. */

#include "processor.h"

#ifdef X86
#define WIDE
#include "training.h"
#undef CLONES
#define CLONES TARGET_AVX512
#include "input_gradient.c"
#include "weight_gradient.c"
#endif
