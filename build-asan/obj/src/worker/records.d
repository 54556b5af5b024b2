build-asan/obj/src/worker/records.o: src/worker/records.c \
 src/worker/records.h src/base/bytes.h src/base/status.h src/hnsw/hnsw.h \
 src/vec/vec.h src/base/breaks.h src/base/hash.h
src/worker/records.h:
src/base/bytes.h:
src/base/status.h:
src/hnsw/hnsw.h:
src/vec/vec.h:
src/base/breaks.h:
src/base/hash.h:
