build-asan/obj/src/hnsw/check.o: src/hnsw/check.c src/hnsw/graph.h \
 src/hnsw/hnsw.h src/base/status.h src/vec/vec.h src/hnsw/kernels.h
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
