build-asan/obj/src/hnsw/link.o: src/hnsw/link.c src/hnsw/walk.h \
 src/hnsw/ctx.h src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h \
 src/vec/vec.h src/hnsw/kernels.h src/hnsw/query.h src/hnsw/set.h
src/hnsw/walk.h:
src/hnsw/ctx.h:
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
src/hnsw/query.h:
src/hnsw/set.h:
