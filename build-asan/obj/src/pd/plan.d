build-asan/obj/src/pd/plan.o: src/pd/plan.c src/pd/plan.h src/wire/wire.h \
 src/base/bytes.h src/base/status.h
src/pd/plan.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
