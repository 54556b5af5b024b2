build-asan/obj/src/hnsw/kernels_avx512.o: src/hnsw/kernels_avx512.c \
 src/hnsw/kernels.h
src/hnsw/kernels.h:
