build-asan/obj/src/hnsw/query.o: src/hnsw/query.c src/hnsw/query.h \
 src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h src/vec/vec.h \
 src/hnsw/kernels.h
src/hnsw/query.h:
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
