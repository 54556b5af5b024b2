build-asan/obj/src/hnsw/ctx.o: src/hnsw/ctx.c src/hnsw/ctx.h \
 src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h src/vec/vec.h \
 src/hnsw/kernels.h src/hnsw/query.h
src/hnsw/ctx.h:
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
src/hnsw/query.h:
