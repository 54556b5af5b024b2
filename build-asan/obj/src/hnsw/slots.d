build-asan/obj/src/hnsw/slots.o: src/hnsw/slots.c src/hnsw/graph.h \
 src/hnsw/hnsw.h src/base/status.h src/vec/vec.h src/hnsw/kernels.h \
 src/hnsw/ctx.h src/hnsw/query.h
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
src/hnsw/ctx.h:
src/hnsw/query.h:
