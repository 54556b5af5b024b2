build-asan/obj/src/hnsw/kernels_avx2.o: src/hnsw/kernels_avx2.c \
 src/hnsw/kernels.h
src/hnsw/kernels.h:
