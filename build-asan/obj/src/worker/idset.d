build-asan/obj/src/worker/idset.o: src/worker/idset.c src/worker/idset.h \
 src/base/bytes.h src/base/status.h src/base/hash.h
src/worker/idset.h:
src/base/bytes.h:
src/base/status.h:
src/base/hash.h:
