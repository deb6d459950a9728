-- Files that came in a document: which one, and by which generation of it they came last.
create table attachments (
    document uuid primary key,
    mail     uuid not null,
    brought  bigint not null
);
create index attachments_by_mail on attachments (mail, document);
