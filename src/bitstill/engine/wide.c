/* The gradients of weights and of features once more, on vectors of 16 numbers: for AVX-512. */

#include "processor.h"

#ifdef X86
#define WIDE
#include "training.h"
#undef CLONES
#define CLONES TARGET_AVX512
#include "input_gradient.c"
#include "weight_gradient.c"
#endif
