/* The gradients of weights and features, compiled again for AVX-512 with vectors of 16 numbers. */

#include "processor.h"

#ifdef X86
#define WIDE
#include "training.h"
#undef CLONES
#define CLONES TARGET_AVX512
#include "input_gradient.c"
#include "weight_gradient.c"
#endif
