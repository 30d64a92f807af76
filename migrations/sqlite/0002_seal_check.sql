-- A text that was sealed with the key of this database's secrets, to notice another key. One row at most.
create table seal_check (
    id integer primary key not null check (id = 1),
    sealed text not null
) strict;
