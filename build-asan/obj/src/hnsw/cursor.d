build-asan/obj/src/hnsw/cursor.o: src/hnsw/cursor.c src/hnsw/hits.h \
 src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h src/vec/vec.h \
 src/hnsw/kernels.h src/hnsw/walk.h src/hnsw/ctx.h src/hnsw/query.h \
 src/hnsw/set.h
src/hnsw/hits.h:
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
src/hnsw/walk.h:
src/hnsw/ctx.h:
src/hnsw/query.h:
src/hnsw/set.h:
