/*-------------------------------------------------------------------------
 *
 * vector_ops.c
 *	  Distances, arithmetic and comparison of vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "elements.h"

ELEMENTS_FUNCTION(l2_distance, elements_l2_distance, vector_elements)
ELEMENTS_FUNCTION(vector_l2_squared_distance, elements_l2_squared, vector_elements)
ELEMENTS_FUNCTION(inner_product, elements_inner_product, vector_elements)
ELEMENTS_FUNCTION(vector_negative_inner_product, elements_negative_inner_product, vector_elements)
ELEMENTS_FUNCTION(cosine_distance, elements_cosine_distance, vector_elements)
ELEMENTS_FUNCTION(vector_spherical_distance, elements_spherical_distance, vector_elements)
ELEMENTS_FUNCTION(l1_distance, elements_l1_distance, vector_elements)
ELEMENTS_FUNCTION(vector_dims, elements_dims, vector_elements)
ELEMENTS_FUNCTION(vector_norm, elements_norm, vector_elements)
ELEMENTS_FUNCTION(l2_normalize, elements_normalize, vector_elements)
ELEMENTS_FUNCTION(vector_add, elements_add, vector_elements)
ELEMENTS_FUNCTION(vector_sub, elements_sub, vector_elements)
ELEMENTS_FUNCTION(vector_mul, elements_mul, vector_elements)
ELEMENTS_FUNCTION(vector_concat, elements_concat, vector_elements)
ELEMENTS_FUNCTION(binary_quantize, elements_quantize, vector_elements)
ELEMENTS_FUNCTION(subvector, elements_subvector, vector_elements)
ELEMENTS_COMPARISONS(vector, elements_order(fcinfo, &vector_elements))

ELEMENTS_FUNCTION(vector_accum, elements_accum, vector_elements)
ELEMENTS_FUNCTION(vector_combine, elements_combine, vector_elements)
ELEMENTS_FUNCTION(vector_avg, elements_avg, vector_elements)
