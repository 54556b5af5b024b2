build-asan/obj/src/hnsw/repair.o: src/hnsw/repair.c src/hnsw/ctx.h \
 src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h src/vec/vec.h \
 src/hnsw/kernels.h src/hnsw/query.h
src/hnsw/ctx.h:
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
src/hnsw/query.h:
