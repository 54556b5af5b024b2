build-asan/obj/src/hnsw/calibrate.o: src/hnsw/calibrate.c \
 src/hnsw/graph.h src/hnsw/hnsw.h src/base/status.h src/vec/vec.h \
 src/hnsw/kernels.h
src/hnsw/graph.h:
src/hnsw/hnsw.h:
src/base/status.h:
src/vec/vec.h:
src/hnsw/kernels.h:
