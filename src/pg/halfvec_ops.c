/*-------------------------------------------------------------------------
 *
 * halfvec_ops.c
 *	  Distances, arithmetic and comparison of halfvecs, and their aggregates; as
 *	  floats, which is exact.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "elements.h"

ELEMENTS_FUNCTION(halfvec_l2_distance, elements_l2_distance, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_l2_squared_distance, elements_l2_squared, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_inner_product, elements_inner_product, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_negative_inner_product, elements_negative_inner_product, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_cosine_distance, elements_cosine_distance, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_spherical_distance, elements_spherical_distance, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_l1_distance, elements_l1_distance, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_vector_dims, elements_dims, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_l2_norm, elements_norm, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_l2_normalize, elements_normalize, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_add, elements_add, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_sub, elements_sub, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_mul, elements_mul, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_concat, elements_concat, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_binary_quantize, elements_quantize, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_subvector, elements_subvector, halfvec_elements)
ELEMENTS_COMPARISONS(halfvec, elements_order(fcinfo, &halfvec_elements))

/* avg keeps what avg(vector) keeps; sum keeps a halfvec. */
ELEMENTS_FUNCTION(halfvec_accum, elements_accum, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_combine, elements_combine, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_avg, elements_avg, halfvec_elements)
