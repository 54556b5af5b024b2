build-asan/obj/src/hnsw/set.o: src/hnsw/set.c src/hnsw/set.h \
 src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h src/vec/vec.h \
 src/hnsw/kernels.h
src/hnsw/set.h:
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
