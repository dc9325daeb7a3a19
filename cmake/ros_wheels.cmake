# For the ROS 2 wheels of PyPI only, by -DCMAKE_PROJECT_INCLUDE: their targets name header folders of
# the machine that built them (/opt/python/...), and CMake does not generate with folders that are
# missing. Those are dropped. Where no such folder is named, as in a normal ROS 2, nothing happens.
# Needs CMake 3.21.
function(_drop_missing_header_folders)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "^/opt/python/|;/opt/python/")
      set(kept "")
      foreach(folder IN LISTS folders)
        if(NOT folder MATCHES "^/opt/python/" OR EXISTS "${folder}")
          list(APPEND kept "${folder}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL _drop_missing_header_folders)
