build-asan/obj/src/worker/scan.o: src/worker/scan.c src/worker/scan.h \
 src/worker/records.h src/base/bytes.h src/base/status.h src/hnsw/hnsw.h \
 src/vec/vec.h src/base/breaks.h src/worker/idset.h src/wire/wire.h
src/worker/scan.h:
src/worker/records.h:
src/base/bytes.h:
src/base/status.h:
src/hnsw/hnsw.h:
src/vec/vec.h:
src/base/breaks.h:
src/worker/idset.h:
src/wire/wire.h:
