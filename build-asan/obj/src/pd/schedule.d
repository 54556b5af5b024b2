build-asan/obj/src/pd/schedule.o: src/pd/schedule.c src/pd/schedule.h
src/pd/schedule.h:
