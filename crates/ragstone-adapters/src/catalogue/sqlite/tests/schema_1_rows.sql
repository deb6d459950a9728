-- Four documents and their jobs, as the first schema wrote them.
insert into documents values (x'00000000000000000000000000000001', 'a', 'default', 'upload', '1', 1, 'pending', 'pending', 1, null, null, null,
    'text/plain', null, 0, '[]', '1.txt', null, null, x'0000000000000000000000000000000000000000000000000000000000000000', 1, 'incoming/1', null, 'pipeline',
    '{"tenant":"a","sets":[["everyone"]]}', 1, '{}', null, null, null, 0, 0);
insert into documents values (x'00000000000000000000000000000002', 'a', 'default', 'upload', '2', 1, 'pending', 'pending', 1, null, null, null,
    'text/plain', null, 0, '[]', '2.txt', null, null, x'0000000000000000000000000000000000000000000000000000000000000000', 1, 'incoming/2', null, 'pipeline',
    '{"tenant":"a","sets":[["everyone"]]}', 1, '{}', null, null, null, 0, 0);
insert into documents values (x'00000000000000000000000000000003', 'a', 'default', 'upload', '3', 1, 'pending', 'pending', 1, null, null, null,
    'text/plain', null, 0, '[]', '3.txt', null, null, x'0000000000000000000000000000000000000000000000000000000000000000', 1, 'incoming/3', null, 'pipeline',
    '{"tenant":"a","sets":[["everyone"]]}', 1, '{}', null, null, null, 0, 0);
insert into documents values (x'00000000000000000000000000000004', 'a', 'default', 'upload', '4', 1, 'pending', 'pending', 1, null, null, null,
    'text/plain', null, 0, '[]', '4.txt', null, null, x'0000000000000000000000000000000000000000000000000000000000000000', 1, 'incoming/4', null, 'pipeline',
    '{"tenant":"a","sets":[["everyone"]]}', 1, '{}', null, null, null, 0, 0);
insert into jobs values (1, x'00000000000000000000000000000001', 'ingest', x'00000000000000000000000000000001', 1, 'a', 'upload', '{"tenant":"a","sets":[["everyone"]]}',
    1, 'succeeded', 'done', 1, 2, 1, null, 0, 1, 1);
insert into jobs values (2, x'00000000000000000000000000000002', 'ingest', x'00000000000000000000000000000002', 1, 'a', 'upload', '{"tenant":"a","sets":[["everyone"]]}',
    2, 'running', 'embed', 1, 2, 1, null, 0, 2, 2);
insert into jobs values (3, x'00000000000000000000000000000003', 'ingest', x'00000000000000000000000000000003', 1, 'a', 'upload', '{"tenant":"a","sets":[["everyone"]]}',
    3, 'queued', 'queued', 1, 2, 2, '{"code":"busy","detail":"d","hint":"h"}', 0, 3, 3);
insert into jobs values (4, x'00000000000000000000000000000004', 'ingest', x'00000000000000000000000000000004', 1, 'a', 'upload', '{"tenant":"a","sets":[["everyone"]]}',
    4, 'queued', 'queued', 1, 2, 0, null, 0, 4, 4);
update counters set value = 4 where name = 'generation';
