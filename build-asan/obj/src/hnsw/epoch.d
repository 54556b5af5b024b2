build-asan/obj/src/hnsw/epoch.o: src/hnsw/epoch.c src/hnsw/graph.h \
 src/hnsw/hnsw.h src/base/status.h src/vec/vec.h src/hnsw/kernels.h
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
