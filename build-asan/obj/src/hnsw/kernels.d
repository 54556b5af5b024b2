build-asan/obj/src/hnsw/kernels.o: src/hnsw/kernels.c src/hnsw/kernels.h \
 src/hnsw/hnsw.h src/base/status.h src/vec/vec.h
src/hnsw/kernels.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
